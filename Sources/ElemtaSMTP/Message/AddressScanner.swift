/// A word of an address list: RFC 5322 3.2.
enum AddressToken: Equatable {
    /// `atext`, RFC 5322 3.2.3, or any octet above 127 (RFC 6532 3.2).
    case atom([UInt8])
    /// The value of a quoted-string (3.2.4), without quotes and backslashes.
    case quoted([UInt8])
    /// A domain-literal (3.4.1) with its brackets, without blanks.
    case literal([UInt8])
    /// One of `<>@,;:.`
    case special(UInt8)
}

/// Cuts an address list into its words; comments, blanks and the ends of folded lines are left out.
struct AddressScanner {
    enum Step {
        case token(AddressToken)
        case end
        /// Nothing that may stand here, or something that isn't closed.
        case invalid
    }

    private let octets: [UInt8]
    private var position = 0

    init(_ octets: [UInt8]) {
        self.octets = octets
    }

    mutating func next() -> Step {
        guard skipBlanks() else { return .invalid }
        guard position < octets.count else { return .end }
        let octet = octets[position]
        switch octet {
        case .quote: return quotedString().map { .token(.quoted($0)) } ?? .invalid
        case .openBracket: return literal().map { .token(.literal($0)) } ?? .invalid
        case .openAngle, .closeAngle, .at, .comma, .semicolon, .colon, .dot:
            position += 1
            return .token(.special(octet))
        default:
            let start = position
            while position < octets.count, octets[position].isAtext || octets[position].isEightBit {
                position += 1
            }
            return position > start ? .token(.atom(Array(octets[start..<position]))) : .invalid
        }
    }

    /// `CFWS`, RFC 5322 3.2.2. False: a comment isn't closed. Comments nest to any depth.
    private mutating func skipBlanks() -> Bool {
        var depth = 0
        while position < octets.count {
            switch octets[position] {
            case .space, .tab, .carriageReturn, .lineFeed: break
            case UInt8(ascii: "("): depth += 1
            case UInt8(ascii: ")") where depth > 0: depth -= 1
            case .backslash where depth > 0: position += 1
            case _ where depth > 0: break
            default: return true
            }
            position += 1
        }
        return depth == 0
    }

    /// Behind the opening quote up to the closing one. Line ends inside are folding (3.2.4).
    private mutating func quotedString() -> [UInt8]? {
        var value: [UInt8] = []
        position += 1
        while position < octets.count {
            var octet = octets[position]
            position += 1
            switch octet {
            case .quote: return value
            case .carriageReturn, .lineFeed: continue
            case .backslash:
                guard position < octets.count else { return nil }
                octet = octets[position]
                position += 1
            default: break
            }
            value.append(octet == .tab ? .space : octet)
        }
        return nil
    }

    private mutating func literal() -> [UInt8]? {
        guard let end = octets[position...].firstIndex(of: .closeBracket) else { return nil }
        defer { position = end + 1 }
        return octets[position...end].filter { $0 != .space && $0 != .tab }
    }
}
