/// The ABNF of RFC 5321 and its extensions, one function per rule.
///
/// A rule looks at `text` from `start` on and returns the position behind the longest match, or nil
/// when there is none. Rules hold no state and copy nothing; a command line is complete before any
/// of them sees it, so "incomplete" doesn't occur here.
enum Grammar {
    /// The longest domain, RFC 5321 4.5.3.1.2, octets.
    static let maximumDomainLength = 255
    /// The longest label in ASCII, RFC 1035 2.3.4, octets. A U-label may take more octets than the
    /// A-label that it stands for.
    static let maximumLabelLength = 63

    /// `UTF8-non-ascii = UTF8-2 / UTF8-3 / UTF8-4`, RFC 6532 3.1 and RFC 3629 4: one character,
    /// neither overlong nor a surrogate.
    static func utf8NonASCII(_ text: Span<UInt8>, _ start: Int) -> Int? {
        guard let first = text.octet(at: start), first.isEightBit else { return nil }
        let length: Int
        var secondRange: ClosedRange<UInt8> = 0x80...0xBF
        switch first {
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, secondRange) = (3, 0xA0...0xBF)
        case 0xED: (length, secondRange) = (3, 0x80...0x9F)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, secondRange) = (4, 0x90...0xBF)
        case 0xF4: (length, secondRange) = (4, 0x80...0x8F)
        case 0xF1...0xF3: length = 4
        default: return nil
        }
        guard start + length <= text.count, secondRange.contains(text[start + 1]) else {
            return nil
        }
        for index in (start + 2)..<max(start + 2, start + length)
        where !(0x80...0xBF).contains(text[index]) {
            return nil
        }
        return start + length
    }

    /// `Atom = 1*atext`, RFC 5322 3.2.3; `atext =/ UTF8-non-ascii`, RFC 6531 3.3.
    static func atom(_ text: Span<UInt8>, _ start: Int) -> Int? {
        var position = start
        while let octet = text.octet(at: position) {
            if octet.isAtext {
                position += 1
            } else if let end = utf8NonASCII(text, position) {
                position = end
            } else {
                break
            }
        }
        return position > start ? position : nil
    }

    /// `Dot-string = Atom *("." Atom)`, RFC 5321 4.1.2.
    static func dotString(_ text: Span<UInt8>, _ start: Int) -> Int? {
        guard var position = atom(text, start) else { return nil }
        while text.octet(at: position) == .dot, let end = atom(text, position + 1) {
            position = end
        }
        return position
    }

    /// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`, RFC 5321 4.1.2;
    /// `qtextSMTP =/ UTF8-non-ascii`, RFC 6531 3.3.
    static func quotedString(_ text: Span<UInt8>, _ start: Int) -> Int? {
        guard text.octet(at: start) == .quote else { return nil }
        var position = start + 1
        while let octet = text.octet(at: position) {
            if octet == .quote { return position + 1 }
            if octet.isQtext {
                position += 1
            } else if octet == .backslash, let quoted = text.octet(at: position + 1),
                quoted.isPrintable
            {
                position += 2
            } else if let end = utf8NonASCII(text, position) {
                position = end
            } else {
                return nil
            }
        }
        return nil
    }

    /// `Local-part = Dot-string / Quoted-string`, RFC 5321 4.1.2. Its length has no limit of its own:
    /// 4.5.3.1 asks for at least 64 octets, and for no limit where that can be.
    static func localPart(_ text: Span<UInt8>, _ start: Int) -> Int? {
        dotString(text, start) ?? quotedString(text, start)
    }

    /// `sub-domain = Let-dig [Ldh-str]`, RFC 5321 4.1.2; `sub-domain =/ U-label`, RFC 6531 3.3.
    static func subDomain(_ text: Span<UInt8>, _ start: Int) -> Int? {
        var position = start
        var isASCII = true
        while let octet = text.octet(at: position) {
            if octet.isLetDig || octet == .hyphen {
                position += 1
            } else if let end = utf8NonASCII(text, position) {
                // U+0080 to U+009F are controls, which no U-label holds (RFC 5892 2.10).
                guard octet != 0xC2 || text[position + 1] >= 0xA0 else { return nil }
                position = end
                isASCII = false
            } else {
                break
            }
        }
        guard position > start, text[start] != .hyphen, text[position - 1] != .hyphen,
            !isASCII || position - start <= maximumLabelLength
        else { return nil }
        return position
    }

    /// `Domain = sub-domain *("." sub-domain)`, RFC 5321 4.1.2.
    static func domain(_ text: Span<UInt8>, _ start: Int) -> Int? {
        guard var position = subDomain(text, start) else { return nil }
        while text.octet(at: position) == .dot, let end = subDomain(text, position + 1) {
            position = end
        }
        return position - start <= maximumDomainLength ? position : nil
    }

    /// `address-literal = "[" ( IPv4-address-literal / IPv6-address-literal ) "]"`, RFC 5321 4.1.3.
    /// General-address-literal needs a tag registered by a standards-track RFC, and there is none.
    static func addressLiteral(
        _ text: Span<UInt8>, _ start: Int
    ) -> (end: Int, address: IPAddress)? {
        guard text.octet(at: start) == .openBracket else { return nil }
        var close = start + 1
        while let octet = text.octet(at: close), octet != .closeBracket { close += 1 }
        guard close < text.count else { return nil }
        if text.hasKeyword("IPV6:", at: start + 1) {
            guard let (high, low) = IPAddress.v6(text.extracting((start + 6)..<close))
            else { return nil }
            return (close + 1, IPAddress(v6High: high, v6Low: low))
        }
        guard let address = IPAddress.v4(text, (start + 1)..<close) else { return nil }
        return (close + 1, IPAddress(v4: address))
    }

    /// `Mailbox = Local-part "@" ( Domain / address-literal )`, RFC 5321 4.1.2.
    static func mailbox(_ text: Span<UInt8>, _ start: Int) -> (end: Int, localPartEnd: Int)? {
        guard let at = localPart(text, start), text.octet(at: at) == .at,
            let end = domain(text, at + 1) ?? addressLiteral(text, at + 1)?.end
        else { return nil }
        return (end, at)
    }

    /// `A-d-l = At-domain *( "," At-domain )` and the colon behind it, RFC 5321 4.1.2: a source
    /// route, which "MUST be accepted, SHOULD NOT be generated, and SHOULD be ignored".
    static func sourceRoute(_ text: Span<UInt8>, _ start: Int) -> Int? {
        var position = start
        while text.octet(at: position) == .at, let end = domain(text, position + 1) {
            switch text.octet(at: end) {
            case .comma?: position = end + 1
            case .colon?: return end + 1
            default: return nil
            }
        }
        return nil
    }
}
