public import ElemtaQueue
public import ElemtaSMTP

/// Where mail for a recipient goes, and which rule says so.
public struct RouteDecision: Hashable, Sendable {
    public enum Rule: Hashable, Sendable {
        /// That entry of `DeliverySettings.routes`.
        case route(Int)
        /// No route matches, and there is a relay host.
        case relayHost
        /// Neither: the domain's mail exchangers.
        case mailExchangers
    }

    public let rule: Rule
    public let destination: Destination
    /// Nil where nothing goes over a network.
    public let tls: ClientTLSPolicy?
    /// With the relay host's password.
    public let logsIn: Bool
}

extension Router {
    func decision(for recipient: ForwardPath, demand: TransportDemand) -> RouteDecision {
        let destination = destination(for: recipient, demand: demand)
        let terms = DeliveryTerms(name: destination.name)
        let hasTLS = terms?.hop.server.map { !$0.server.isSocket } ?? false
        return RouteDecision(
            rule: rule(for: recipient), destination: destination, tls: hasTLS ? terms?.tls : nil,
            logsIn: terms?.logsIn ?? false)
    }
}

extension DeliverySettings {
    /// Whether a route or the relay host is this server, and not only the address of a literal.
    func names(_ server: RemoteServer) -> Bool {
        relayHost == server || routes.contains { $0.target == .hop(.smtp(server)) }
    }
}

extension DeliveryService {
    /// Which rule says where a message with this demand goes: pure, any thread, started or not.
    public func decision(
        for recipient: ForwardPath, demand: TransportDemand
    ) -> RouteDecision {
        router.decision(for: recipient, demand: demand)
    }
}
