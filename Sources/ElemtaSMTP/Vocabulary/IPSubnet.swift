/// A range of addresses with a common prefix (CIDR, RFC 4632), or a single address.
public struct IPSubnet: Hashable, Sendable, CustomStringConvertible {
    /// The first address. An IPv4-mapped range is kept as the IPv4 range that it stands for.
    public let base: IPAddress
    /// Bits in common: 0...32 for IPv4, 0...128 for IPv6.
    public let prefixLength: Int

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or a single address. Nil when the text isn't one, the
    /// prefix is too long, or bits are set behind the prefix (a slip of the pen nobody should guess at).
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let first = parts.first, parts.count <= 2, let address = IPAddress(String(first))
        else { return nil }
        let width = address.isV4 ? 32 : 128
        guard parts.count == 2 else {
            self.init(base: address, prefixLength: width)
            return
        }
        let digits = parts[1].utf8
        guard (1...3).contains(digits.count), digits.allSatisfy(\.isDigit),
            let length = Int(parts[1])
        else { return nil }
        self.init(base: address, prefixLength: length)
    }

    /// Nil under the same conditions as `init(_:)`.
    public init?(base: IPAddress, prefixLength: Int) {
        let width = base.isV4 ? 32 : 128
        guard (0...width).contains(prefixLength), Self.network(of: base, prefixLength) == base
        else { return nil }
        if !base.isV4, base.unmapped.isV4, prefixLength >= 96 {
            self.base = base.unmapped
            self.prefixLength = prefixLength - 96
        } else {
            self.base = base
            self.prefixLength = prefixLength
        }
    }

    /// Whether `address` lies in the range; IPv4-mapped IPv6 is compared as IPv4.
    public func contains(_ address: IPAddress) -> Bool {
        Self.network(of: address.unmapped, prefixLength) == base
    }

    public var description: String {
        prefixLength == (base.isV4 ? 32 : 128) ? "\(base)" : "\(base)/\(prefixLength)"
    }

    /// `address` with everything behind the prefix cleared. Shifts of the whole width give 0.
    private static func network(of address: IPAddress, _ length: Int) -> IPAddress {
        switch address.storage {
        case .v4(let bits):
            return IPAddress(v4: bits & (UInt32.max << UInt32(clamping: 32 - length)))
        case .v6(let high, let low):
            return IPAddress(
                v6High: high & (UInt64.max << UInt64(clamping: 64 - min(length, 64))),
                v6Low: low & (UInt64.max << UInt64(clamping: 128 - max(length, 64))))
        }
    }
}
