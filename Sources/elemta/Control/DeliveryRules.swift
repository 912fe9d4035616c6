import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaSMTP

/// By what rules messages leave: what is told about them beside what their envelopes say.
struct DeliveryRules: Sendable {
    let retry: RetryPolicy
    /// Seconds that failed messages are kept.
    let failedRetention: Int64
    private let decide: @Sendable (ForwardPath, TransportDemand) -> RouteDecision
    private let patterns: [Configuration.DomainPattern]

    init(_ configuration: Configuration, _ delivery: DeliveryService) {
        self.init(configuration) { delivery.decision(for: $0, demand: $1) }
    }

    /// Of a server that goes by other routes than it was started with.
    init(_ configuration: Configuration, _ delivery: RoutedDelivery) {
        self.init(configuration) { delivery.decision(for: $0, demand: $1) }
    }

    private init(
        _ configuration: Configuration,
        _ decide: @escaping @Sendable (ForwardPath, TransportDemand) -> RouteDecision
    ) {
        let options = SpoolOptions(configuration)
        retry = options.retry
        failedRetention = options.failedRetention
        self.decide = decide
        patterns = configuration.delivery.routes.map(\.domain)
    }

    /// Of a server that isn't running, or of none.
    ///
    /// - Throws: when the relay host's password can't be read.
    init(_ configuration: Configuration) throws(RelayLoginError) {
        let delivery = DeliveryService(try DeliverySettings(configuration)) { _ in }
        self.init(configuration, delivery)
    }

    func decision(for recipient: ForwardPath, demand: TransportDemand) -> RouteDecision {
        decide(recipient, demand)
    }

    /// `delivery.routes[0] (example.com)`.
    func words(for rule: RouteDecision.Rule) -> String {
        switch rule {
        case .route(let index): "\(rule.key) (\(patterns[index]))"
        case .relayHost: "\(rule.key), as no route matches"
        case .mailExchangers: "the domain's MX, as no route matches and there is no relay host"
        }
    }
}

extension RouteDecision.Rule {
    /// The key of the configuration that a rule is.
    var key: String {
        switch self {
        case .route(let index): "delivery.routes[\(index)]"
        case .relayHost: "delivery.relay_host"
        case .mailExchangers: "delivery.routes"
        }
    }
}

extension RouteDecision {
    /// How the next hop's TLS is asked for, and whether we log in; nil where there is no server.
    var security: String? {
        guard let tls else { return nil }
        let words =
            switch tls {
            case .off: "off"
            case .opportunistic: "opportunistic"
            case .required: "required"
            case .requireTLS: "REQUIRETLS"
            }
        return logsIn ? "\(words), with a login" : words
    }
}
