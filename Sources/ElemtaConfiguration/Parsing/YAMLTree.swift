/// How deep maps and lists may be nested. The deepest setting is four levels down.
let maximumNesting = 32

/// How many values and keys a file may hold: it bounds the memory that a file of 1 MiB can cost.
let maximumNodes = 100_000

/// Reads YAML text into a tree; nil when it is no YAML, which the findings then say.
///
/// Strict where YAML is lenient: one document, no anchors, aliases or tags (a few lines of aliases
/// can mean gigabytes), no doubled keys. An empty file is an empty map.
///
/// - Parameters:
///   - key: what the text is the value of; empty for a whole file.
///   - origin: says where a line is, counted from 1, or the whole for nil.
func parseYAML(
    _ text: String, key: String = "", at origin: @escaping (Int?) -> ConfigurationOrigin,
    _ findings: inout Findings
) -> ConfigurationNode? {
    // Tags are refused, so nobody needs handles for them; libyaml compares each with all before it.
    guard text.utf8.split(separator: "%TAG".utf8, maxSplits: 100).count <= 100 else {
        findings.refuse(key, at: origin(nil), "found many a %TAG; allowed: no tags")
        return nil
    }
    guard let reader = YAMLEventReader(Array(text.utf8)) else {
        findings.refuse(key, at: origin(nil), "out of memory")
        return nil
    }
    var builder = YAMLTreeBuilder(reader: reader, key: key, origin: origin)
    do {
        let root = try builder.document()
        builder.duplicates.forEach { findings.refuse($0) }
        return root
    } catch {
        builder.duplicates.forEach { findings.refuse($0) }
        findings.refuse(key, at: origin(error.line), error.text)
        return nil
    }
}

private struct YAMLTreeBuilder: ~Copyable {
    var reader: YAMLEventReader
    let key: String
    let origin: (Int?) -> ConfigurationOrigin
    var duplicates: [ConfigurationProblem] = []
    private var nodes = 0

    init(
        reader: consuming YAMLEventReader, key: String,
        origin: @escaping (Int?) -> ConfigurationOrigin
    ) {
        self.reader = reader
        self.key = key
        self.origin = origin
    }

    mutating func document() throws(YAMLFailure) -> ConfigurationNode {
        while true {
            let event = try reader.next()
            switch event.kind {
            case .streamStart:
                continue
            case .streamEnd:
                return ConfigurationNode(.map([]), at: origin(nil))
            case .documentStart:
                let root = try node(from: try reader.next(), depth: 0, key: key)
                try end()
                guard case .scalar(.null) = root.content else { return root }
                return ConfigurationNode(.map([]), at: root.origin)
            case .documentEnd, .alias, .scalar, .listStart, .listEnd, .mapStart, .mapEnd, .unknown:
                throw YAMLFailure(line: event.line, text: "not a YAML document")
            }
        }
    }

    /// A second document would be read by nobody, and whoever wrote it would not know.
    private mutating func end() throws(YAMLFailure) {
        while true {
            let event = try reader.next()
            switch event.kind {
            case .documentEnd: continue
            case .streamEnd: return
            case .streamStart, .documentStart, .alias, .scalar, .listStart, .listEnd, .mapStart,
                .mapEnd, .unknown:
                throw YAMLFailure(
                    line: event.line, text: "found a second document; allowed: one")
            }
        }
    }

    /// The value that begins with `event`.
    private mutating func node(
        from event: YAMLEvent, depth: Int, key: String
    ) throws(YAMLFailure) -> ConfigurationNode {
        try check(event, depth: depth)
        let origin = origin(event.line)
        switch event.kind {
        case .scalar(let text, let isPlain):
            let scalar = isPlain ? plainScalar(text) : .text(text)
            return ConfigurationNode(.scalar(scalar), at: origin)
        case .listStart:
            return ConfigurationNode(.list(try list(depth: depth, key: key)), at: origin)
        case .mapStart:
            return ConfigurationNode(.map(try map(depth: depth, key: key)), at: origin)
        case .streamStart, .streamEnd, .documentStart, .documentEnd, .alias, .listEnd, .mapEnd,
            .unknown:
            throw YAMLFailure(line: event.line, text: "not a YAML value")
        }
    }

    private mutating func list(
        depth: Int, key: String
    ) throws(YAMLFailure) -> [ConfigurationNode] {
        var elements: [ConfigurationNode] = []
        while true {
            let event = try reader.next()
            if case .listEnd = event.kind { return elements }
            let place = "\(key)[\(elements.count)]"
            elements.append(try node(from: event, depth: depth + 1, key: place))
        }
    }

    private mutating func map(
        depth: Int, key: String
    ) throws(YAMLFailure) -> [ConfigurationNode.Member] {
        var members: [ConfigurationNode.Member] = []
        var lines: [String: Int] = [:]
        while true {
            let event = try reader.next()
            if case .mapEnd = event.kind { return members }
            try check(event, depth: depth)
            guard case .scalar(let name, _) = event.kind else {
                throw YAMLFailure(
                    line: event.line, text: "found a key that is a list or a map; allowed: a name")
            }
            let shown = printable(name, quoted: false)
            let place = key.isEmpty ? shown : "\(key).\(shown)"
            let value = try node(from: try reader.next(), depth: depth + 1, key: place)
            let origin = origin(event.line)
            if let first = lines[name] {
                duplicates.append(
                    ConfigurationProblem(
                        origin, key: place, "doubled key, first given in line \(first)"))
                continue
            }
            lines[name] = event.line
            members.append(.init(key: name, origin: origin, value: value))
        }
    }

    private mutating func check(_ event: YAMLEvent, depth: Int) throws(YAMLFailure) {
        nodes += 1
        let problem: String? =
            if case .alias = event.kind {
                "found an alias; allowed: each value written out"
            } else if event.hasAnchor {
                "found an anchor; allowed: each value written out"
            } else if event.hasTag {
                "found a tag; allowed: plain values, and strings in quotes"
            } else if depth > maximumNesting {
                "nested too deep; allowed: \(maximumNesting) levels"
            } else if nodes > maximumNodes {
                "too many values; allowed: \(maximumNodes)"
            } else {
                nil
            }
        if let problem { throw YAMLFailure(line: event.line, text: problem) }
    }
}

/// What a scalar without quotes is in YAML 1.2's core schema (section 10.3.2), but for octal and
/// hexadecimal numbers. `yes`, `no`, `on` and `off` are strings: where a boolean is wanted they are
/// refused, and `tls: off` is what it says.
private func plainScalar(_ text: String) -> ConfigurationNode.Scalar {
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE": return .boolean(true)
    case "false", "False", "FALSE": return .boolean(false)
    default:
        if let value = decimalInteger(text) { return .integer(value) }
        return looksLikeNumber(text) ? .number(text) : .text(text)
    }
}

/// Numbers that are no setting's value but must not pass for strings: fractions, exponents, leading
/// zeros, and integers of more than 64 bits.
private func looksLikeNumber(_ text: String) -> Bool {
    var rest = text.utf8[...]
    func skipDigits() -> Int {
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        rest = rest.dropFirst(digits.count)
        return digits.count
    }
    if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
        rest = rest.dropFirst()
    }
    var digits = skipDigits()
    if rest.first == UInt8(ascii: ".") {
        rest = rest.dropFirst()
        digits += skipDigits()
    }
    guard digits > 0 else {
        return [".inf", ".nan"].contains(text.lowercased().drop { "+-".contains($0) })
    }
    if let mark = rest.first, mark == UInt8(ascii: "e") || mark == UInt8(ascii: "E") {
        rest = rest.dropFirst()
        if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
            rest = rest.dropFirst()
        }
        guard skipDigits() > 0 else { return false }
    }
    return rest.isEmpty
}
