public import ElemtaSMTP

/// The reverse-paths that a user may send from, as `allowed_senders` lists them.
public struct AllowedSenders: Sendable, Hashable {
    private enum Pattern: Hashable {
        /// Both as they are compared.
        case mailbox(localPart: [UInt8], Domain)
        case domain(Domain)
        case subdomains(of: Domain)
    }

    private let patterns: Set<Pattern>

    /// Each of `texts` is `user@example.com`, `example.com` or `@example.com` (the whole domain),
    /// or `.example.com` (everything below it). Throws the first that is none of these.
    public init(_ texts: [String]) throws(NotASender) {
        var patterns: Set<Pattern> = []
        for (index, text) in texts.enumerated() {
            guard let pattern = Self.pattern(text) else { throw NotASender(index: index) }
            patterns.insert(pattern)
        }
        self.patterns = patterns
    }

    /// The element of a list that is neither an address nor a domain.
    public struct NotASender: Error, Equatable {
        public let index: Int
    }

    /// The null reverse-path is everybody's: it names nobody, and read receipts (RFC 8098 2.1) go
    /// out with it.
    public func allows(_ path: ReversePath) -> Bool {
        switch path {
        case .null: true
        case .mailbox(let mailbox):
            patterns.contains(Self.exact(mailbox))
                || patterns.contains { Self.covers($0, mailbox.domain) }
        }
    }

    private static func pattern(_ text: String) -> Pattern? {
        if text.hasPrefix(".") { return Domain(String(text.dropFirst())).map(Pattern.subdomains) }
        if text.hasPrefix("@") { return Domain(String(text.dropFirst())).map(Pattern.domain) }
        return Mailbox(text).map(exact) ?? Domain(text).map(Pattern.domain)
    }

    /// Local parts differ by case in RFC 5321 2.4 and nowhere in practice: a client that writes
    /// `Alice@` means the same mailbox.
    private static func exact(_ mailbox: Mailbox) -> Pattern {
        .mailbox(localPart: mailbox.comparedLocalPart, mailbox.domain)
    }

    private static func covers(_ pattern: Pattern, _ domain: Domain) -> Bool {
        switch pattern {
        case .mailbox: false
        case .domain(let own): own == domain
        case .subdomains(let parent): domain.isSubdomain(of: parent)
        }
    }
}
