/// The character classes of RFC 5321 and RFC 5322, over octets.
extension UInt8 {
    static let tab = UInt8(ascii: "\t")
    static let lineFeed = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")
    static let space = UInt8(ascii: " ")
    static let dot = UInt8(ascii: ".")
    static let colon = UInt8(ascii: ":")
    static let comma = UInt8(ascii: ",")
    static let at = UInt8(ascii: "@")
    static let hyphen = UInt8(ascii: "-")
    static let plus = UInt8(ascii: "+")
    static let equals = UInt8(ascii: "=")
    static let semicolon = UInt8(ascii: ";")
    static let underscore = UInt8(ascii: "_")
    static let backslash = UInt8(ascii: "\\")
    static let quote = UInt8(ascii: "\"")
    static let openAngle = UInt8(ascii: "<")
    static let closeAngle = UInt8(ascii: ">")
    static let openBracket = UInt8(ascii: "[")
    static let closeBracket = UInt8(ascii: "]")

    @inline(__always) var isDigit: Bool { self &- 0x30 < 10 }
    @inline(__always) var isLetter: Bool { (self | 0x20) &- 0x61 < 26 }
    /// Let-dig, RFC 5321 4.1.2.
    @inline(__always) var isLetDig: Bool { isDigit || isLetter }
    /// %d32-126: what may stand in a line of text.
    @inline(__always) var isPrintable: Bool { self &- 32 < 95 }
    @inline(__always) var isControl: Bool { self < 32 || self == 127 }
    @inline(__always) var isEightBit: Bool { self > 127 }
    @inline(__always) var lowercased: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }
    @inline(__always) var uppercased: UInt8 { self &- 0x61 < 26 ? self & 0xDF : self }

    /// atext, RFC 5322 3.2.3 (the UTF-8 of RFC 6531 is handled by whoever reads atoms).
    @inline(__always) var isAtext: Bool {
        switch self {
        case UInt8(ascii: "!"), UInt8(ascii: "#")...UInt8(ascii: "'"), UInt8(ascii: "*"),
            UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "/")...UInt8(ascii: "9"),
            UInt8(ascii: "="), UInt8(ascii: "?"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "^")...UInt8(ascii: "~"):
            true
        default: false
        }
    }

    /// qtextSMTP, RFC 5321 4.1.2: printable, neither the quote nor the backslash.
    @inline(__always) var isQtext: Bool { isPrintable && self != .quote && self != .backslash }

    /// xchar, RFC 3461 4: "!" to "~" without "+" and "=".
    @inline(__always) var isXchar: Bool { self &- 33 < 94 && self != .plus && self != .equals }

    /// The value of a hexadecimal digit of either case.
    var hexadecimalValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self &- UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self &- UInt8(ascii: "A") &+ 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self &- UInt8(ascii: "a") &+ 10
        default: nil
        }
    }

    /// The value of a hexadecimal digit as xtext wants it, in upper case.
    var upperHexadecimalValue: UInt8? { self < UInt8(ascii: "a") ? hexadecimalValue : nil }
}

extension Span<UInt8> {
    /// The octet at `position`, nil behind the end.
    @inline(__always) func octet(at position: Int) -> UInt8? {
        position < count ? self[position] : nil
    }

    /// Whether `keyword` (upper-case ASCII) stands at `position`, in any case.
    func hasKeyword(_ keyword: String, at position: Int = 0) -> Bool {
        guard position + keyword.utf8.count <= count else { return false }
        var index = position
        for octet in keyword.utf8 {
            if self[index].uppercased != octet { return false }
            index += 1
        }
        return true
    }

    /// Whether the whole span is `keyword` (upper-case ASCII), in any case.
    func isKeyword(_ keyword: String) -> Bool {
        count == keyword.utf8.count && hasKeyword(keyword)
    }

    /// A copy of `range`.
    func octets(_ range: Range<Int>) -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(range.count)
        for index in range { copy.append(self[index]) }
        return copy
    }
}
