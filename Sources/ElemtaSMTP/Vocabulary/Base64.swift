/// Base 64 as RFC 4648 4 has it: one spelling for each sequence of octets.
public enum Base64 {
    /// What `text` stands for; nil for anything but groups of four characters of the alphabet, the
    /// last of them padded. White space, missing padding and bits behind the last octet are refused
    /// (RFC 4648 3.5), so that no two spellings mean the same.
    public static func decode(_ text: Span<UInt8>) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        var padding = 0
        while padding < 2, padding < text.count, text[text.count - 1 - padding] == .equals {
            padding += 1
        }
        var octets: [UInt8] = []
        octets.reserveCapacity(text.count / 4 * 3)
        var bits: UInt32 = 0
        var bitCount: UInt32 = 0
        for index in 0..<(text.count - padding) {
            guard let value = value(of: text[index]) else { return nil }
            bits = bits << 6 | UInt32(value)
            bitCount += 6
            if bitCount >= 8 {
                bitCount -= 8
                octets.append(UInt8(truncatingIfNeeded: bits >> bitCount))
                bits &= (1 << bitCount) - 1
            }
        }
        return bits == 0 ? octets : nil
    }

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// `octets` in groups of four characters, the last of them padded.
    static func encode(_ octets: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((octets.count + 2) / 3 * 4)
        let span = octets.span
        var start = 0
        while start < span.count {
            let count = min(3, span.count - start)
            var bits = UInt32(span[start]) << 16
            if count > 1 { bits |= UInt32(span[start + 1]) << 8 }
            if count > 2 { bits |= UInt32(span[start + 2]) }
            text.append(alphabet[Int(bits >> 18)])
            text.append(alphabet[Int(bits >> 12 & 0x3F)])
            text.append(count > 1 ? alphabet[Int(bits >> 6 & 0x3F)] : .equals)
            text.append(count > 2 ? alphabet[Int(bits & 0x3F)] : .equals)
            start += count
        }
        return text
    }

    private static func value(of octet: UInt8) -> UInt8? {
        switch octet {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): octet - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): octet - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): octet - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
