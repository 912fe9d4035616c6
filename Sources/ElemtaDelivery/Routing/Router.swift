import ElemtaQueue
import ElemtaSMTP

/// Says where mail for a domain goes: the first route that matches, else relay_host, else the
/// domain's mail exchangers. Pure; any thread.
struct Router: Sendable {
    /// A target with its destination named beforehand: naming one per recipient costs a look-up, not
    /// a new string, unless the mail exchangers of the domain are meant.
    private enum Choice: Sendable {
        case mailExchangers
        case fixed(Destination)
    }

    /// Routes for one domain, with their place in the list.
    private var exact: [Domain: (place: Int, choice: Choice)] = [:]
    /// All others, in order.
    private var patterns: [(place: Int, pattern: DeliveryRoute.Pattern, choice: Choice)] = []
    private let otherwise: Choice
    /// Where `<Postmaster>` without a domain is, should the caller not have said (RFC 5321 4.5.1).
    private let ownDomain: Domain

    init(routes: [DeliveryRoute], relayHost: RemoteServer?, ownDomain: Domain) {
        self.ownDomain = ownDomain
        otherwise = relayHost.map { Self.choice(.hop(.smtp($0))) } ?? .mailExchangers
        for (place, route) in routes.enumerated() {
            let choice = Self.choice(route.target)
            if case .exact(let domain) = route.pattern {
                if exact[domain] == nil { exact[domain] = (place, choice) }
            } else {
                patterns.append((place, route.pattern, choice))
            }
        }
    }

    private static func choice(_ target: DeliveryRoute.Target) -> Choice {
        switch target {
        case .mailExchangers: .mailExchangers
        case .hop(let hop): .fixed(Destination(name: hop.destinationName))
        }
    }

    func destination(for recipient: ForwardPath) -> Destination {
        let domain = recipient.mailbox?.domain ?? ownDomain
        switch choice(for: domain) {
        case .fixed(let destination): return destination
        case .mailExchangers:
            let hop = NextHop.smtp(RemoteServer(mailDomain: domain))
            return Destination(name: hop.destinationName)
        }
    }

    private func choice(for domain: Domain) -> Choice {
        let own = exact[domain]
        for entry in patterns {
            if let own, own.place < entry.place { break }
            if entry.pattern.matches(domain) { return entry.choice }
        }
        return own?.choice ?? otherwise
    }
}
