/// A domain name or an address literal, in the form in which it is compared.
public struct Domain: Hashable, Sendable {
    /// Lower-cased ASCII or UTF-8 (U-labels); an address literal with its brackets, canonically.
    public let octets: [UInt8]

    /// Reads the `Domain` of RFC 5321 4.1.2 (with RFC 6531's U-labels) or an address literal.
    public init?(_ text: String) {
        let octets = Array(text.utf8)
        self.init(octets: octets.span)
    }

    /// As `init(_:)`, over the whole of `text`.
    public init?(octets text: Span<UInt8>) {
        guard (Grammar.domain(text, 0) ?? Grammar.addressLiteral(text, 0)?.end) == text.count
        else { return nil }
        self.init(checked: text)
    }

    /// The whole of `text` has been found to be a domain or an address literal.
    init(checked text: Span<UInt8>) {
        if let (_, address) = Grammar.addressLiteral(text, 0) {
            // One address has many spellings; only one of them is compared.
            octets = address.addressLiteral.utf8.map(\.lowercased)
        } else {
            octets = Self.folded(text)
        }
    }

    /// The address, when this is a literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    public var addressLiteral: IPAddress? {
        octets.first == .openBracket ? Grammar.addressLiteral(octets.span, 0)?.address : nil
    }

    /// Whether this lies strictly below `parent`. Address literals lie below nothing.
    public func isSubdomain(of parent: Domain) -> Bool {
        let own = octets.count
        let other = parent.octets.count
        guard own > other, octets[own - other - 1] == .dot, octets[0] != .openBracket
        else { return false }
        return octets[(own - other)...].elementsEqual(parent.octets)
    }

    /// Any octet above 127.
    public var isInternationalized: Bool { octets.contains(where: \.isEightBit) }

    private static func folded(_ text: Span<UInt8>) -> [UInt8] {
        var isASCII = true
        var octets: [UInt8] = []
        octets.reserveCapacity(text.count)
        for index in text.indices {
            octets.append(text[index].lowercased)
            if text[index].isEightBit { isASCII = false }
        }
        // U-labels are folded as Unicode says; rare enough for a String.
        return isASCII ? octets : Array(String(decoding: octets, as: UTF8.self).lowercased().utf8)
    }
}

extension Domain: CustomStringConvertible {
    public var description: String {
        addressLiteral?.addressLiteral ?? String(decoding: octets, as: UTF8.self)
    }
}
