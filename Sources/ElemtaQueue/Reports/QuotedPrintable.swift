/// The quoted-printable encoding of RFC 2045 6.7, for octets that must pass as 7-bit text.
enum QuotedPrintable {
    /// RFC 2045 6.7 (5): a line has at most 76 characters, the "=" of a soft break included.
    private static let longestLine = 76
    private static let digits = Array("0123456789ABCDEF".utf8)

    /// Encodes text whose lines end with CRLF; its line ends stay line ends.
    static func encode(_ text: [UInt8]) -> [UInt8] {
        var encoded: [UInt8] = []
        encoded.reserveCapacity(text.count + text.count / 4)
        var width = 0
        var index = 0
        while index < text.count {
            if isLineEnd(text, at: index) {
                encoded.append(contentsOf: [13, 10])
                width = 0
                index += 2
                continue
            }
            let character = character(text, at: index)
            let isLast = index + 1 == text.count || isLineEnd(text, at: index + 1)
            // A soft break needs a place of its own, the end of the line doesn't.
            if width + character.count > (isLast ? longestLine : longestLine - 1) {
                encoded.append(contentsOf: [UInt8(ascii: "="), 13, 10])
                width = 0
            }
            encoded.append(contentsOf: character)
            width += character.count
            index += 1
        }
        return encoded
    }

    private static func isLineEnd(_ text: [UInt8], at index: Int) -> Bool {
        text[index] == 13 && index + 1 < text.count && text[index + 1] == 10
    }

    private static func character(_ text: [UInt8], at index: Int) -> [UInt8] {
        let octet = text[index]
        let isLiteral =
            switch octet {
            case UInt8(ascii: "="): false
            // White space at the end of a line would be taken for padding (6.7 (3)).
            case 9, 32: index + 1 < text.count && !isLineEnd(text, at: index + 1)
            default: octet > 32 && octet < 127
            }
        if isLiteral { return [octet] }
        return [UInt8(ascii: "="), digits[Int(octet >> 4)], digits[Int(octet & 15)]]
    }
}
