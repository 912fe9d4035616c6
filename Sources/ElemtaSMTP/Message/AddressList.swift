/// An address of a header field.
public enum HeaderAddress: Hashable, Sendable {
    case mailbox(Mailbox)
    /// Without a domain, as people on one machine write to each other; a local-part as SMTP has it.
    case localPart([UInt8])
}

/// Reads the addresses of a `To`, `Cc` or `From` field: `address-list` of RFC 5322 3.4, with groups,
/// comments, quoted names, folded lines, and what RFC 5322 4.4 allows from old programs (routes, empty
/// elements, dots in names).
public struct AddressList {
    /// The addresses that mail goes to, in their order, those of groups among them.
    public private(set) var addresses: [HeaderAddress] = []
    private var isInsideGroup = false
    /// What has been read since the last separator.
    private var words: [AddressToken] = []
    /// `<...>` has been read since then.
    private var hasRoute = false

    /// `body` is what follows the colon of the field. Nil when it isn't an address list.
    public init?(_ body: [UInt8]) {
        var scanner = AddressScanner(body)
        while true {
            switch scanner.next() {
            case .invalid: return nil
            case .end:
                guard endAddress(), !isInsideGroup else { return nil }
                return
            case .token(let token):
                guard take(token, &scanner) else { return nil }
            }
        }
    }

    /// As `init(_:)`, for one word of a command line.
    public init?(_ text: String) {
        self.init(Array(text.utf8))
    }

    private mutating func take(_ token: AddressToken, _ scanner: inout AddressScanner) -> Bool {
        switch token {
        case .special(.comma):
            return endAddress()
        case .special(.colon):
            // `group = display-name ":" [group-list] ";"`
            guard !isInsideGroup, !hasRoute, !words.isEmpty else { return false }
            isInsideGroup = true
            words = []
            return true
        case .special(.semicolon):
            guard endAddress() else { return false }
            isInsideGroup = false
            return true
        case .special(.openAngle):
            guard !hasRoute else { return false }
            hasRoute = true
            // What stood before is the name.
            words = []
            return takeRoute(&scanner)
        case .special(.closeAngle):
            return false
        case .special, .atom, .quoted, .literal:
            guard !hasRoute else { return false }
            words.append(token)
            return true
        }
    }

    /// `angle-addr = "<" addr-spec ">"`, `obs-angle-addr = "<" obs-route addr-spec ">"`, behind the
    /// opening bracket. `<>` is nobody.
    private mutating func takeRoute(_ scanner: inout AddressScanner) -> Bool {
        var inner: [AddressToken] = []
        while case .token(let token) = scanner.next() {
            switch token {
            case .special(.closeAngle):
                guard !inner.isEmpty else { return true }
                return add(inner[...])
            case .special(.colon):
                // RFC 5322 4.4: the route is ignored.
                guard inner.first == .special(.at) else { return false }
                inner = []
            case .special(.comma):
                guard inner.first == .special(.at) else { return false }
            case .special, .atom, .quoted, .literal:
                inner.append(token)
            }
        }
        return false
    }

    /// An address is over; empty ones are nobody.
    private mutating func endAddress() -> Bool {
        defer { (words, hasRoute) = ([], false) }
        return words.isEmpty || add(words[...])
    }

    /// `addr-spec = local-part "@" domain`; without a domain the local-part alone.
    private mutating func add(_ tokens: ArraySlice<AddressToken>) -> Bool {
        let at = tokens.firstIndex(of: .special(.at)) ?? tokens.endIndex
        guard let localPart = Self.localPart(tokens[..<at]) else { return false }
        guard at < tokens.endIndex else {
            addresses.append(.localPart(localPart))
            return true
        }
        guard let domain = Self.domain(tokens[(at + 1)...]) else { return false }
        let octets = localPart + [.at] + domain
        guard let mailbox = Mailbox(octets: octets.span) else { return false }
        addresses.append(.mailbox(mailbox))
        return true
    }

    /// `local-part = dot-atom / quoted-string / obs-local-part`, as SMTP writes it: words that only
    /// make a local-part together become one quoted string.
    private static func localPart(_ tokens: ArraySlice<AddressToken>) -> [UInt8]? {
        var plain: [UInt8] = []
        var needsQuotes = false
        for (offset, token) in tokens.enumerated() {
            switch token {
            case .atom(let octets) where offset % 2 == 0: plain += octets
            case .quoted(let octets) where offset % 2 == 0:
                plain += octets
                needsQuotes = true
            case .special(.dot) where offset % 2 == 1: plain.append(.dot)
            case .atom, .quoted, .literal, .special: return nil
            }
        }
        guard tokens.count % 2 == 1 else { return nil }
        let octets = needsQuotes ? quoted(plain) : plain
        guard Grammar.localPart(octets.span, 0) == octets.count else { return nil }
        return octets
    }

    private static func quoted(_ plain: [UInt8]) -> [UInt8] {
        var octets: [UInt8] = [.quote]
        for octet in plain {
            if octet == .quote || octet == .backslash { octets.append(.backslash) }
            octets.append(octet)
        }
        return octets + [.quote]
    }

    /// `domain = dot-atom / domain-literal / obs-domain`.
    private static func domain(_ tokens: ArraySlice<AddressToken>) -> [UInt8]? {
        if tokens.count == 1, case .literal(let octets)? = tokens.first { return octets }
        var domain: [UInt8] = []
        for (offset, token) in tokens.enumerated() {
            switch token {
            case .atom(let octets) where offset % 2 == 0: domain += octets
            case .special(.dot) where offset % 2 == 1: domain.append(.dot)
            case .atom, .quoted, .literal, .special: return nil
            }
        }
        return tokens.count % 2 == 1 ? domain : nil
    }
}
