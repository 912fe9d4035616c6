import ElemtaAuthentication
import ElemtaConfiguration
import ElemtaSMTP

/// How many messages an address may begin in a window of time: `limits.rate_per_ip`. An IPv6 /64
/// counts as one address. Reactor thread only.
struct MessageRates {
    /// Addresses that are remembered, some 100 octets each; with more of them those that began first
    /// are forgotten.
    private static let capacity = 65_536

    private let maximum: Int
    private var counts: WindowedCounts<IPAddress>

    init(_ rate: Configuration.Rate) {
        maximum = rate.count
        counts = WindowedCounts(window: .seconds(rate.seconds), capacity: Self.capacity)
    }

    /// Counts one more message, or says that there are too many.
    mutating func admit(_ address: IPAddress, at now: Duration) -> Bool {
        guard counts.count(of: address.site, at: now) < maximum else { return false }
        counts.add(address.site, at: now)
        return true
    }
}
