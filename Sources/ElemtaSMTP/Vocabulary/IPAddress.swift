/// An IPv4 or IPv6 address without a port or zone.
public struct IPAddress: Hashable, Sendable {
    /// What the address is made of, in host byte order.
    public enum Storage: Hashable, Sendable {
        case v4(UInt32)
        case v6(high: UInt64, low: UInt64)
    }

    public let storage: Storage

    public init(v4: UInt32) { storage = .v4(v4) }

    public init(v6High: UInt64, v6Low: UInt64) { storage = .v6(high: v6High, low: v6Low) }

    /// Reads a dotted quad (no leading zeros, which some read as octal) or the text of RFC 4291 2.2.
    public init?(_ text: String) {
        let octets = Array(text.utf8)
        self.init(octets: octets.span)
    }

    /// As `init(_:)`, over the whole of `text`.
    public init?(octets text: Span<UInt8>) {
        if let address = Self.v4(text, 0..<text.count) {
            self.init(v4: address)
        } else if let (high, low) = Self.v6(text) {
            self.init(v6High: high, v6Low: low)
        } else {
            return nil
        }
    }

    /// `::ffff:192.0.2.1` as `192.0.2.1`; every other address as it is. Policy compares this, so
    /// that a client has one identity whichever socket it came in by.
    public var unmapped: IPAddress {
        guard case .v6(0, let low) = storage, low >> 32 == 0xFFFF else { return self }
        return IPAddress(v4: UInt32(truncatingIfNeeded: low))
    }

    /// Whom limits count: an IPv6 /64 is one customer, who has every address in it.
    public var site: IPAddress {
        let address = unmapped
        switch address.storage {
        case .v4: return address
        case .v6(let high, _): return IPAddress(v6High: high, v6Low: 0)
        }
    }

    public var isV4: Bool {
        switch storage {
        case .v4: true
        case .v6: false
        }
    }

    /// 127.0.0.0/8 or ::1, also in its IPv4-mapped form.
    public var isLoopback: Bool {
        switch unmapped.storage {
        case .v4(let address): address >> 24 == 127
        case .v6(let high, let low): high == 0 && low == 1
        }
    }

    /// The address as RFC 5321 4.1.3 writes it: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    public var addressLiteral: String { isV4 ? "[\(self)]" : "[IPv6:\(self)]" }
}

extension IPAddress: CustomStringConvertible {
    /// A dotted quad, or the canonical text of RFC 5952.
    public var description: String {
        switch storage {
        case .v4(let address): Self.dottedQuad(address)
        case .v6(0, let low) where low >> 32 == 0xFFFF:
            "::ffff:" + Self.dottedQuad(UInt32(truncatingIfNeeded: low))
        case .v6(let high, let low): Self.canonical(high, low)
        }
    }

    private static func dottedQuad(_ address: UInt32) -> String {
        "\(address >> 24).\(address >> 16 & 255).\(address >> 8 & 255).\(address & 255)"
    }

    private static func canonical(_ high: UInt64, _ low: UInt64) -> String {
        let groups = (0..<8).map { index in
            UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64(48 - 16 * (index % 4)))
        }
        // RFC 5952 4.2: the longest run of two or more zero groups is shortened, the first of equals.
        var longest = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(longest.count, 1) { longest = start..<end }
            start = end + 1
        }
        let texts = groups.map { String($0, radix: 16) }
        guard !longest.isEmpty else { return texts.joined(separator: ":") }
        return texts[..<longest.lowerBound].joined(separator: ":") + "::"
            + texts[longest.upperBound...].joined(separator: ":")
    }
}

extension IPAddress {
    /// `IPv4-address-literal = Snum 3("." Snum)`, RFC 5321 4.1.3, without leading zeros.
    static func v4(_ text: Span<UInt8>, _ range: Range<Int>) -> UInt32? {
        var address: UInt32 = 0
        var position = range.lowerBound
        for part in 0..<4 {
            if part > 0 {
                guard position < range.upperBound, text[position] == .dot else { return nil }
                position += 1
            }
            let start = position
            var value: UInt32 = 0
            while position < range.upperBound, position - start < 3, text[position].isDigit {
                value = value * 10 + UInt32(text[position] - UInt8(ascii: "0"))
                position += 1
            }
            let digits = position - start
            guard digits > 0, value < 256, digits == 1 || text[start] != UInt8(ascii: "0") else {
                return nil
            }
            address = address << 8 | value
        }
        return position == range.upperBound ? address : nil
    }

    /// The forms of RFC 4291 2.2, the last 32 bits as a dotted quad among them.
    static func v6(_ text: Span<UInt8>) -> (high: UInt64, low: UInt64)? {
        var groups: [UInt16] = []
        var gap: Int?
        var position = 0
        if text.count >= 2, text[0] == .colon, text[1] == .colon {
            gap = 0
            position = 2
        }
        while position < text.count {
            guard groups.count < 8 else { return nil }
            let start = position
            var value: UInt16 = 0
            while position < text.count, position - start < 4,
                let digit = text[position].hexadecimalValue
            {
                value = value << 4 | UInt16(digit)
                position += 1
            }
            if position < text.count, text[position] == .dot {
                guard groups.count <= 6, let tail = v4(text, start..<text.count) else { return nil }
                groups.append(UInt16(tail >> 16))
                groups.append(UInt16(tail & 0xFFFF))
                position = text.count
                break
            }
            guard position > start else { return nil }
            groups.append(value)
            guard position < text.count else { break }
            guard text[position] == .colon, position + 1 < text.count else { return nil }
            position += 1
            if text[position] == .colon {
                guard gap == nil else { return nil }
                gap = groups.count
                position += 1
            }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            let zeros = Array(repeating: UInt16(0), count: 8 - groups.count)
            groups.insert(contentsOf: zeros, at: gap)
        }
        guard groups.count == 8 else { return nil }
        let high = groups[..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        let low = groups[4...].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        return (high, low)
    }
}
