/// Metrics in Prometheus' text format 0.0.4, family by family.
struct MetricsText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var octets: [UInt8] = []

    /// Begins a family; its samples follow.
    mutating func begin(_ family: MetricFamily) {
        write("# HELP \(family.rawValue) \(family.help)\n")
        write("# TYPE \(family.rawValue) \(family.kind.rawValue)\n")
    }

    /// A family of one sample.
    mutating func add(_ family: MetricFamily, _ value: Int) {
        begin(family)
        sample(family, [], value)
    }

    /// A family of one sample.
    mutating func add(_ family: MetricFamily, _ value: UInt64) {
        add(family, Int(clamping: value))
    }

    /// A family of one sample.
    mutating func add(_ family: MetricFamily, _ value: Double) {
        begin(family)
        line(family.rawValue, "", "\(value)")
    }

    /// A family of one sample for each key that there is.
    mutating func add<Key: RawRepresentable<String> & CaseIterable>(
        _ family: MetricFamily, _ count: (Key) -> UInt64
    ) {
        begin(family)
        for key in Key.allCases { sample(family, [key.rawValue], count(key)) }
    }

    /// A family of one histogram.
    mutating func add(_ family: MetricFamily, _ histogram: HistogramCounts) {
        begin(family)
        sample(family, [], histogram)
    }

    /// - Parameter values: of the family's labels, in their order.
    mutating func sample(_ family: MetricFamily, _ values: [String], _ value: UInt64) {
        line(family.rawValue, Self.labels(family.labels, values), "\(value)")
    }

    mutating func sample(_ family: MetricFamily, _ values: [String], _ value: Int) {
        line(family.rawValue, Self.labels(family.labels, values), "\(value)")
    }

    /// Prometheus wants counts that include those of the smaller bounds.
    mutating func sample(
        _ family: MetricFamily, _ values: [String], _ histogram: HistogramCounts
    ) {
        let names = family.labels + ["le"]
        var total: UInt64 = 0
        for (bound, count) in zip(histogram.bounds, histogram.counts) {
            total += count
            line(
                "\(family.rawValue)_bucket", Self.labels(names, values + [Self.text(bound)]),
                "\(total)")
        }
        total += histogram.counts.last ?? 0
        line("\(family.rawValue)_bucket", Self.labels(names, values + ["+Inf"]), "\(total)")
        let labels = Self.labels(family.labels, values)
        line("\(family.rawValue)_sum", labels, "\(histogram.sum)")
        line("\(family.rawValue)_count", labels, "\(total)")
    }

    /// A bound as people write it.
    private static func text(_ bound: Double) -> String {
        bound == bound.rounded() ? "\(Int(bound))" : "\(bound)"
    }

    private static func labels(_ names: [String], _ values: [String]) -> String {
        guard !names.isEmpty else { return "" }
        let pairs = zip(names, values).map { "\($0)=\"\(escaped($1))\"" }
        return "{\(pairs.joined(separator: ","))}"
    }

    private static func escaped(_ value: String) -> String {
        var escaped = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    private mutating func line(_ name: String, _ labels: String, _ value: String) {
        write("\(name)\(labels) \(value)\n")
    }

    private mutating func write(_ text: String) { octets.append(contentsOf: text.utf8) }
}
