import ElemtaSMTP

/// A message's subject as a person reads it: unfolded, encoded words decoded (RFC 2047).
///
/// What can't be decoded stays as it was written. Escaping is left to whoever prints it.
enum Subject {
    /// Longer ones are cut, Unicode scalars.
    static let lengthLimit = 200
    /// Octets of the field that are looked at.
    private static let octetLimit = 4096

    /// Nil without a Subject field.
    static func text(of header: HeaderSection) -> String? {
        guard let body = header.field("subject") else { return nil }
        let text = String(decoding: decode(body.prefix(octetLimit)), as: UTF8.self)
        guard text.unicodeScalars.count > lengthLimit else { return text }
        var cut = String.UnicodeScalarView(text.unicodeScalars.prefix(lengthLimit - 1))
        cut.append("\u{2026}")
        return String(cut)
    }

    /// White space between two encoded words belongs to neither (RFC 2047 6.2); the octets of all
    /// are joined before they are read as UTF-8, since some senders cut within a character.
    private static func decode(_ body: ArraySlice<UInt8>) -> [UInt8] {
        var text: [UInt8] = []
        var previous: (end: Int, isEncoded: Bool)?
        for word in body.split(whereSeparator: isSpace) {
            let decoded = EncodedWord.decode(word)
            if let previous, !(previous.isEncoded && decoded != nil) {
                text += body[previous.end..<word.startIndex]
            }
            text += decoded ?? Array(word)
            previous = (word.endIndex, decoded != nil)
        }
        return text
    }

    private static func isSpace(_ octet: UInt8) -> Bool {
        octet == UInt8(ascii: " ") || octet == UInt8(ascii: "\t")
    }
}

/// `=?charset?encoding?text?=`, RFC 2047 2.
enum EncodedWord {
    private enum Charset {
        case utf8
        case latin1

        /// `name` may carry a language (RFC 2231 5).
        init?(_ name: ArraySlice<UInt8>) {
            let plain = name.prefix { $0 != UInt8(ascii: "*") }
            switch String(decoding: plain, as: UTF8.self).lowercased() {
            case "utf-8", "utf8", "us-ascii": self = .utf8
            case "iso-8859-1": self = .latin1
            default: return nil
            }
        }
    }

    /// What the word stands for, as UTF-8; nil when it isn't an encoded word, or in a charset
    /// that isn't known here.
    static func decode(_ word: ArraySlice<UInt8>) -> [UInt8]? {
        let parts = word.split(separator: UInt8(ascii: "?"), omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].elementsEqual("=".utf8), parts[4].elementsEqual("=".utf8),
            let charset = Charset(parts[1]), let octets = decode(parts[3], encoding: parts[2])
        else { return nil }
        switch charset {
        case .utf8: return octets
        case .latin1: return octets.flatMap { Array(String(UnicodeScalar($0)).utf8) }
        }
    }

    private static func decode(
        _ text: ArraySlice<UInt8>, encoding: ArraySlice<UInt8>
    ) -> [UInt8]? {
        switch String(decoding: encoding, as: UTF8.self) {
        case "B", "b": return Base64.decode(text.span)
        case "Q", "q": return decodeQ(text)
        default: return nil
        }
    }

    /// RFC 2047 4.2.
    private static func decodeQ(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        var octets: [UInt8] = []
        var rest = text
        while let octet = rest.popFirst() {
            switch octet {
            case UInt8(ascii: "_"):
                octets.append(UInt8(ascii: " "))
            case UInt8(ascii: "="):
                guard let high = rest.popFirst().flatMap(hexValue),
                    let low = rest.popFirst().flatMap(hexValue)
                else { return nil }
                octets.append(high << 4 | low)
            default:
                octets.append(octet)
            }
        }
        return octets
    }

    private static func hexValue(_ octet: UInt8) -> UInt8? {
        switch octet {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): octet - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): octet - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): octet - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
