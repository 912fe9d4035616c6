import Synchronization

/// How many observations fell below which bound: what Prometheus calls a histogram, with its counts
/// not yet added up.
struct HistogramCounts {
    /// Upper bounds, ascending; one more count than bounds, for what is beyond the last.
    let bounds: [Double]
    private(set) var counts: [UInt64]
    private(set) var sum = 0.0

    init(bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    init(bounds: [Double], counts: [UInt64], sum: Double) {
        self.bounds = bounds
        self.counts = counts
        self.sum = sum
    }

    mutating func observe(_ value: Double, count: UInt64 = 1) {
        counts[Self.index(of: value, in: bounds)] += count
        sum += value * Double(count)
    }

    static func index(of value: Double, in bounds: [Double]) -> Int {
        bounds.firstIndex { value <= $0 } ?? bounds.count
    }
}

/// A histogram that every thread may observe into: relaxed atomic numbers, and no lock.
final class SharedHistogram: Sendable {
    private let bounds: [Double]
    private let counts: [SharedCount]
    /// In millionths, so that it can be an integer.
    private let sum = SharedCount()

    init(bounds: [Double]) {
        self.bounds = bounds
        counts = (0...bounds.count).map { _ in SharedCount() }
    }

    func observe(_ value: Double) {
        counts[HistogramCounts.index(of: value, in: bounds)].add()
        sum.add(UInt64(max(0, value) * 1_000_000))
    }

    var snapshot: HistogramCounts {
        HistogramCounts(
            bounds: bounds, counts: counts.map(\.value), sum: Double(sum.value) / 1_000_000)
    }
}

extension Duration {
    /// As Prometheus has it.
    var seconds: Double { self / .seconds(1) }
}
