import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

// What the configuration comes to in each room.

extension SpoolOptions {
    init(
        _ configuration: Configuration, events: @escaping @Sendable (SpoolEvent) -> Void = { _ in }
    ) {
        let queue = configuration.queue
        self.init(
            path: configuration.queueDir,
            hostname: "\(configuration.hostname)",
            retry: RetryPolicy(
                schedule: queue.retrySchedule.map(Int64.init),
                maximumAttempts: UInt32(queue.maxRetries),
                maximumQueueTime: Int64(queue.maxQueueTime)),
            failedRetention: Int64(queue.failedRetention),
            delayWarning: Int64(queue.delayWarning),
            minimumFree: queue.minFree.map(UInt64.init),
            allowNetworkFileSystem: queue.allowNetworkFilesystem,
            checker: SpoolChecker(
                executable: "/proc/self/exe",
                arguments: [CheckSpoolCommand.name]),
            events: events)
    }
}

/// Why the relay host's password is of no use. Never says what it is.
enum RelayLoginError: Error, CustomStringConvertible {
    case file(SecretFileError)
    case impossible

    var description: String {
        switch self {
        case .file(let error): "delivery.relay_password_file: \(error)"
        case .impossible:
            "delivery.relay_username, relay_password_file: found controls; allowed: text"
        }
    }
}

extension DeliverySettings {
    /// Reads the relay host's password where it is in a file.
    init(_ configuration: Configuration) throws(RelayLoginError) {
        let delivery = configuration.delivery
        self.init(
            hostname: configuration.hostname, heloName: delivery.heloName.map { "\($0)" })
        routes = delivery.routes.compactMap(DeliveryRoute.init)
        relayHost = delivery.relayHost.map(RemoteServer.init)
        relayTLS = ClientTLSPolicy(delivery.relayTLS)
        relayLogin = try ClientLogin(delivery)
        maximumWorkers = configuration.queue.maxWorkers
        maximumConnections = delivery.maxConnections
        maximumConnectionsPerDestination = delivery.maxConnectionsPerDestination
        rates = delivery.rate.map {
            (
                DeliveryRoute.Pattern($0.domain),
                RateLimit(count: $0.limit.count, period: .seconds($0.limit.seconds))
            )
        }
        idleConnection = .seconds(delivery.idleConnection)
        messagesPerConnection = delivery.messagesPerConnection
        connectTimeout = .seconds(delivery.connectTimeout)
        sourceAddresses = delivery.bind
        listeningAddresses = configuration.listeners.flatMap {
            SocketAddress.all("\($0.address)")
        }
        dnsServers = delivery.dnsServers.map { "\($0)" }
    }
}

extension ClientTLSPolicy {
    init(_ policy: Configuration.Delivery.TLSPolicy) {
        switch policy {
        case .off: self = .off
        case .opportunistic: self = .opportunistic
        case .required: self = .required
        }
    }
}

extension ClientLogin {
    /// Nil where there is nobody to log in as.
    fileprivate init?(_ delivery: Configuration.Delivery) throws(RelayLoginError) {
        let secret: Secret?
        do throws(SecretFileError) {
            secret = try delivery.relayPassword.read()
        } catch {
            throw .file(error)
        }
        guard let user = delivery.relayUsername, let secret else { return nil }
        guard let credentials = SASLCredentials(user: user, password: Array(secret.revealed.utf8))
        else { throw .impossible }
        self.init(credentials, isAllowedInClear: delivery.relayAuthInClear)
    }
}

extension DeliveryRoute {
    /// Nil for what the configuration doesn't let pass: a path that can be none.
    init?(_ route: Configuration.Delivery.Route) {
        let pattern = Pattern(route.domain)
        let tls = ClientTLSPolicy(route.tls)
        switch route.deliver {
        case .smtp(let hop): self.init(pattern, .hop(.smtp(RemoteServer(hop))), tls: tls)
        case .mx: self.init(pattern, .mailExchangers, tls: tls)
        case .discard: self.init(pattern, .hop(.discard))
        case .lmtp(let hop): self.init(pattern, .hop(.lmtp(RemoteServer(hop))), tls: tls)
        case .lmtpSocket(let path):
            guard let server = RemoteServer(socket: path) else { return nil }
            self.init(pattern, .hop(.lmtp(server)))
        case .maildir(let template):
            guard let template = MaildirTemplate(template) else { return nil }
            self.init(pattern, .hop(.maildir(template)))
        }
    }
}

extension RemoteServer {
    init(_ hop: Configuration.NextHop) {
        switch hop.host {
        case .address(let address): self.init(.address(address), port: hop.port)
        case .name(let domain): self.init(.host(domain), port: hop.port)
        case .exchangers(let domain): self.init(.mailExchangers(of: domain), port: hop.port)
        }
    }
}

extension DeliveryRoute.Pattern {
    init(_ pattern: Configuration.DomainPattern) {
        switch pattern {
        case .exact(let domain): self = .exact(domain)
        case .subdomains(let parent): self = .subdomains(of: parent)
        case .any: self = .all
        }
    }
}
