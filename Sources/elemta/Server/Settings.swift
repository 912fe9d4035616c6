import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaSMTP

// What the configuration comes to in each room. Keys that aren't built are refused before:
// `UnbuiltFeatures`.

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
            events: events)
    }
}

extension DeliverySettings {
    init(_ configuration: Configuration) {
        let delivery = configuration.delivery
        self.init(
            hostname: configuration.hostname, heloName: delivery.heloName.map { "\($0)" })
        routes = delivery.routes.compactMap(DeliveryRoute.init)
        relayHost = delivery.relayHost.map(RemoteServer.init)
        maximumWorkers = configuration.queue.maxWorkers
        maximumConnections = delivery.maxConnections
        maximumConnectionsPerDestination = delivery.maxConnectionsPerDestination
        idleConnection = .seconds(delivery.idleConnection)
        messagesPerConnection = delivery.messagesPerConnection
        connectTimeout = .seconds(delivery.connectTimeout)
        sourceAddresses = delivery.bind
        dnsServers = delivery.dnsServers.map { "\($0)" }
    }
}

extension DeliveryRoute {
    /// Nil for a method that isn't built.
    init?(_ route: Configuration.Delivery.Route) {
        let pattern: Pattern =
            switch route.domain {
            case .exact(let domain): .exact(domain)
            case .subdomains(let parent): .subdomains(of: parent)
            case .any: .all
            }
        switch route.deliver {
        case .smtp(let hop): self.init(pattern, .hop(.smtp(RemoteServer(hop))))
        case .mx: self.init(pattern, .mailExchangers)
        case .discard: self.init(pattern, .hop(.discard))
        case .lmtp, .lmtpSocket, .maildir: return nil
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
