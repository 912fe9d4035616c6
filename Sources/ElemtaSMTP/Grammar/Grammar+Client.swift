/// What an XCLIENT command has said; nil where it said nothing.
struct ClientAttributes {
    var address: IPAddress?
    var port: UInt16?
    var login: String?
    fileprivate var name: [UInt8]?
    fileprivate var isExtended: Bool?

    /// HELO, with PROTO.
    var introduction: ClientIntroduction? {
        name.map { ClientIntroduction(name: $0, isExtended: isExtended ?? true) }
    }
}

extension Grammar {
    /// `"XCLIENT" 1*( SP attribute-name "=" attribute-value )`, the values in xtext. `start` is
    /// behind the verb. Each attribute at most once; nil for anything that isn't understood, as half
    /// a client is nobody to make rules for.
    static func clientAttributes(_ text: Span<UInt8>, _ start: Int) -> ClientAttributes? {
        var attributes = ClientAttributes()
        var seen: Set<String> = []
        var position = start
        while position < text.count {
            guard let next = parameter(text, position + 1), let range = next.value,
                let name = clientAttributeName(text.extracting(next.keyword)),
                let value = xtext(
                    text, range, allowingUTF8: false, decodingUTF8: name == "LOGIN"),
                seen.insert(name).inserted, attributes.take(name, value)
            else { return nil }
            position = next.end
        }
        return seen.isEmpty ? nil : attributes
    }

    private static func clientAttributeName(_ word: Span<UInt8>) -> String? {
        for name in ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"] where word.isKeyword(name) {
            return name
        }
        return nil
    }
}

extension ClientAttributes {
    fileprivate mutating func take(_ attribute: String, _ value: [UInt8]) -> Bool {
        let isUnavailable =
            value == Array("[UNAVAILABLE]".utf8) || value == Array("[TEMPUNAVAIL]".utf8)
        switch attribute {
        case "NAME":
            // Elemta looks no names up and believes none: read, and not kept.
            return isUnavailable || Grammar.greetingName(value.span, 0)
        case "ADDR":
            // An address that nobody knows has the rights of none, not those of the connection.
            address = isUnavailable ? IPAddress(v4: 0) : Self.address(value.span)
            return address != nil
        case "PORT":
            guard !isUnavailable else { return true }
            port = Grammar.number(value.span, 0).flatMap { number, end in
                end == value.count ? UInt16(exactly: number) : nil
            }
            return port != nil
        case "PROTO":
            isExtended = value.span.isKeyword("ESMTP")
            return isExtended == true || value.span.isKeyword("SMTP")
        case "HELO":
            guard !isUnavailable else { return true }
            name = value
            return Grammar.greetingName(value.span, 0)
        case "LOGIN":
            guard !isUnavailable else { return true }
            // Users are named in UTF-8 (RFC 4616 2).
            login = String(validating: value, as: UTF8.self)
            return login?.isEmpty == false
        default:
            return false
        }
    }

    /// `192.0.2.1`, or `IPV6:2001:db8::1`.
    private static func address(_ text: Span<UInt8>) -> IPAddress? {
        guard text.hasKeyword("IPV6:") else {
            return IPAddress.v4(text, 0..<text.count).map(IPAddress.init(v4:))
        }
        return IPAddress.v6(text.extracting(5..<text.count)).map { address in
            IPAddress(v6High: address.high, v6Low: address.low).unmapped
        }
    }
}
