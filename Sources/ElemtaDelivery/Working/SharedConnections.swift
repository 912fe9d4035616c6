import ElemtaReactor
import ElemtaSMTP

/// Resting connections that domains with the same mail exchangers use by turns. Belongs to its
/// worker's thread; `DeliveryWorker.handOver` brings such domains together.
struct SharedConnections {
    /// What has to be the same: the host by name and address, and what was asked of TLS.
    private struct Key: Hashable {
        let host: String
        let address: SocketAddress
        let tls: ClientTLSPolicy
    }

    private var resting: [Key: [ClientConnection]] = [:]

    mutating func add(_ connection: ClientConnection) {
        guard connection.queue.isShared else { return }
        resting[Self.key(of: connection), default: []].append(connection)
    }

    mutating func remove(_ connection: ClientConnection) {
        guard connection.queue.isShared else { return }
        let key = Self.key(of: connection)
        resting[key]?.removeAll { $0 === connection }
        if resting[key]?.isEmpty == true { resting[key] = nil }
    }

    /// One to a host of `hosts` that no other is preferred to.
    func connection(for queue: DestinationQueue, to hosts: [MailHost]) -> ClientConnection? {
        guard queue.isShared, !resting.isEmpty, let best = hosts.map(\.preference).min() else {
            return nil
        }
        for host in hosts where host.preference == best {
            for address in host.addresses {
                let key = Key(
                    host: host.name, address: SocketAddress(address, port: queue.server.port),
                    tls: queue.tls)
                if let connection = resting[key]?.last { return connection }
            }
        }
        return nil
    }

    private static func key(of connection: ClientConnection) -> Key {
        Key(
            host: connection.target.host, address: connection.target.address,
            tls: connection.queue.tls)
    }
}
