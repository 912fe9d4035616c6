public import ElemtaSMTP

/// One entry of `delivery.routes`: which domains, and how their mail leaves.
public struct DeliveryRoute: Hashable, Sendable {
    /// Which domains a route is for.
    public enum Pattern: Hashable, Sendable {
        case exact(Domain)
        /// Everything below the domain, not the domain itself.
        case subdomains(of: Domain)
        case all

        /// Reads `example.com`, `.example.com` (subdomains) or `*`.
        public init?(_ text: String) {
            if text == "*" {
                self = .all
            } else if text.hasPrefix(".") {
                guard let domain = Domain(String(text.dropFirst())), domain.addressLiteral == nil
                else { return nil }
                self = .subdomains(of: domain)
            } else {
                guard let domain = Domain(text) else { return nil }
                self = .exact(domain)
            }
        }

        func matches(_ domain: Domain) -> Bool {
            switch self {
            case .exact(let other): domain == other
            case .subdomains(let parent): domain.isSubdomain(of: parent)
            case .all: true
            }
        }
    }

    /// How the mail of a route leaves.
    public enum Target: Hashable, Sendable {
        /// The recipient's own mail exchangers, relay_host notwithstanding.
        case mailExchangers
        case hop(NextHop)

        /// Reads `mx`, `discard`, `smtp://host:port`, `lmtp://host:port`, `lmtp+unix:///path` or
        /// `maildir:///path/{domain}/{local}`. Nil for everything else.
        public init?(_ text: String) {
            switch text {
            case "mx": self = .mailExchangers
            case "discard": self = .hop(.discard)
            default:
                guard let mark = text.firstRange(of: "://") else { return nil }
                let rest = String(text[mark.upperBound...])
                let hop: NextHop? =
                    switch text[..<mark.lowerBound] {
                    case "smtp": RemoteServer(authority: rest).map { .smtp($0) }
                    case "lmtp": RemoteServer(authority: rest).map { .lmtp($0) }
                    case "lmtp+unix": RemoteServer(socket: rest).map { .lmtp($0) }
                    case "maildir": MaildirTemplate(rest).map { .maildir($0) }
                    default: nil
                    }
                guard let hop else { return nil }
                self = .hop(hop)
            }
        }
    }

    public let pattern: Pattern
    public let target: Target
    /// Means nothing for `discard`, `maildir` and a unix-domain socket.
    public let tls: ClientTLSPolicy

    /// What on this machine keeps the route's mail from being delivered now, in words; nil: nothing
    /// that can be seen. Mail waits meanwhile.
    public var obstacle: String? {
        switch target {
        case .mailExchangers: nil
        case .hop(let hop): hop.obstacle
        }
    }

    public init(_ pattern: Pattern, _ target: Target, tls: ClientTLSPolicy = .opportunistic) {
        self.pattern = pattern
        self.target = target
        self.tls = tls
    }
}
