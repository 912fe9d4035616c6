import ElemtaQueue
import ElemtaSMTP

/// Says where mail for a domain goes: the first route that matches, else relay_host, else the
/// domain's mail exchangers. Pure; any thread.
struct Router: Sendable {
    /// A target with its destination named beforehand: naming one per recipient costs a look-up, not
    /// a new string, unless the mail exchangers of the domain are meant.
    private enum Choice: Sendable {
        case mailExchangers(ClientTLSPolicy)
        case fixed(Destinations)
    }

    /// One target's destinations, by what messages demand.
    private struct Destinations: Sendable {
        let plain, tls, delivery: Destination

        init(_ hop: NextHop, _ tls: ClientTLSPolicy, logsIn: Bool, isRelayHost: Bool) {
            func destination(_ demand: TransportDemand) -> Destination {
                let tls = tls.with(demand, to: hop, isRelayHost: isRelayHost)
                return Destination(name: DeliveryTerms(hop: hop, tls: tls, logsIn: logsIn).name)
            }
            plain = destination(.none)
            self.tls = destination(.tls)
            delivery = destination(.delivery)
        }

        subscript(_ demand: TransportDemand) -> Destination {
            switch demand {
            case .none: plain
            case .tls: tls
            case .delivery: delivery
            }
        }
    }

    /// Routes for one domain, with their place in the list.
    private var exact: [Domain: (place: Int, choice: Choice)] = [:]
    /// All others, in order.
    private var patterns: [(place: Int, pattern: DeliveryRoute.Pattern, choice: Choice)] = []
    private let otherwise: Choice
    private let limits: [DeliveryRoute.Pattern]
    /// Where `<Postmaster>` without a domain is, should the caller not have said (RFC 5321 4.5.1).
    private let ownDomain: Domain

    init(_ settings: DeliverySettings) {
        ownDomain = settings.hostname
        limits = settings.rates.map(\.domains)
        otherwise =
            settings.relayHost.map {
                .fixed(
                    Destinations(
                        .smtp($0), settings.relayTLS, logsIn: settings.relayLogin != nil,
                        isRelayHost: true))
            } ?? .mailExchangers(.opportunistic)
        for (place, route) in settings.routes.enumerated() {
            let choice = Self.choice(route)
            if case .exact(let domain) = route.pattern {
                if exact[domain] == nil { exact[domain] = (place, choice) }
            } else {
                patterns.append((place, route.pattern, choice))
            }
        }
    }

    private static func choice(_ route: DeliveryRoute) -> Choice {
        switch route.target {
        case .mailExchangers: .mailExchangers(route.tls)
        case .hop(let hop):
            .fixed(Destinations(hop, route.tls, logsIn: false, isRelayHost: false))
        }
    }

    func destination(for recipient: ForwardPath, demand: TransportDemand) -> Destination {
        let domain = recipient.mailbox?.domain ?? ownDomain
        switch match(domain)?.choice ?? otherwise {
        case .fixed(let destinations):
            let destination = destinations[demand]
            guard let limited = limitedDomain(domain),
                var terms = DeliveryTerms(name: destination.name),
                terms.hop.server?.server.isSocket == false
            else { return destination }
            terms.limitedDomain = limited
            return Destination(name: terms.name)
        case .mailExchangers(let tls):
            let hop = NextHop.smtp(RemoteServer(mailDomain: domain))
            let terms = DeliveryTerms(
                hop: hop, tls: tls.with(demand, to: hop, isRelayHost: false),
                limitedDomain: limitedDomain(domain))
            return Destination(name: terms.name)
        }
    }

    /// The domain, if it has a limit of its own.
    private func limitedDomain(_ domain: Domain) -> Domain? {
        guard !limits.isEmpty, domain.addressLiteral == nil else { return nil }
        return limits.contains { $0.matches(domain) } ? domain : nil
    }

    /// Which rule `destination(for:demand:)` goes by.
    func rule(for recipient: ForwardPath) -> RouteDecision.Rule {
        if let match = match(recipient.mailbox?.domain ?? ownDomain) { return .route(match.place) }
        switch otherwise {
        case .fixed: return .relayHost
        case .mailExchangers: return .mailExchangers
        }
    }

    /// The first route that matches.
    private func match(_ domain: Domain) -> (place: Int, choice: Choice)? {
        let own = exact[domain]
        for entry in patterns {
            if let own, own.place < entry.place { break }
            if entry.pattern.matches(domain) { return (entry.place, entry.choice) }
        }
        return own
    }
}
