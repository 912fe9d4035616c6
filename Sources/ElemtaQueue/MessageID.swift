/// The name of one queued message: 64 bits, unique across restarts, in time order.
///
/// Printed as 13 characters of one fixed alphabet (Crockford's base 32 in lower case: no i, l, o,
/// u), so that the printed form sorts as the number does and fits a file name and a reply.
public struct MessageID: Hashable, Comparable, Sendable, LosslessStringConvertible {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// Characters in the printed form.
    public static let characterCount = 13

    private static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)

    /// Nil unless `description` is a printed id; capitals are taken for small letters.
    public init?(_ description: String) {
        guard description.utf8.count == Self.characterCount else { return nil }
        var value: UInt64 = 0
        for (position, character) in description.utf8.enumerated() {
            let lower = (0x41...0x5A).contains(character) ? character | 0x20 : character
            guard let digit = Self.alphabet.firstIndex(of: lower) else { return nil }
            // 13 digits carry 65 bits: the first has only four.
            if position == 0, digit > 15 { return nil }
            value = value << 5 | UInt64(digit)
        }
        rawValue = value
    }

    /// The printed form as octets, for replies and trace fields.
    public var octets: [UInt8] {
        (0..<Self.characterCount).map { position in
            Self.alphabet[Int(rawValue >> UInt64(60 - 5 * position) & 31)]
        }
    }

    public var description: String { String(decoding: octets, as: UTF8.self) }

    public static func < (left: MessageID, right: MessageID) -> Bool {
        left.rawValue < right.rawValue
    }
}
