import ElemtaConfiguration
import ElemtaSMTP

/// What the sessions of one listener have in common.
final class ListenerProfile {
    /// Who stands at the other end of an accepted connection.
    enum Entrance {
        /// The client.
        case direct
        /// A load balancer, which says in a header of the PROXY protocol for whom it speaks; only
        /// these may.
        case proxied(trusted: [IPSubnet])
    }

    /// As the configuration has it.
    let address: String
    let parameters: ServerParameters
    let counters: ListenerCounters
    let entrance: Entrance
    /// Mail programs submit here: what they have left out of the header section is added
    /// (RFC 6409 8).
    let isSubmission: Bool

    init(
        _ listener: Configuration.Listener, of configuration: Configuration,
        counters: ListenerCounters
    ) {
        self.counters = counters
        address = "\(listener.address)"
        parameters = ServerParameters(configuration, listener)
        isSubmission = listener.submission
        entrance = listener.proxyProtocol ? .proxied(trusted: listener.trustedProxies) : .direct
    }

    /// TLS from the first octet on: a refusal in clear would be noise to the client.
    var isImplicitTLS: Bool {
        switch parameters.offer.tls {
        case .implicit: true
        case .off, .startTLS: false
        }
    }
}

extension ServerParameters {
    convenience init(_ configuration: Configuration, _ listener: Configuration.Listener) {
        let limits = configuration.limits
        self.init(
            hostname: "\(configuration.hostname)",
            maximumMessageSize: UInt64(configuration.maxMessageSize),
            maximumRecipients: limits.maxRecipients,
            maximumErrors: limits.maxErrors,
            bareNewline: limits.bareNewline == .normalize ? .normalize : .reject,
            maximumMessages: limits.messagesPerConnection,
            offer: ServerOffer(configuration, listener))
    }
}

extension ServerOffer {
    init(_ configuration: Configuration, _ listener: Configuration.Listener) {
        self.init()
        tls =
            switch listener.tls {
            case .starttls: configuration.tls.enabled ? .startTLS : .off
            // The configuration is refused when it has no certificate for it.
            case .implicit: .implicit
            case .off: .off
            }
        let auth = configuration.auth
        if auth.enabled {
            mechanisms = auth.methods.map(SASLMechanism.init)
            authenticationNeedsTLS = auth.requireTLS
            authenticationIsRequired = auth.required || listener.authRequired
        }
        isDevelopment = configuration.devMode
    }
}

extension SASLMechanism {
    init(_ method: Configuration.Auth.Method) {
        switch method {
        case .plain: self = .plain
        case .login: self = .login
        }
    }
}
