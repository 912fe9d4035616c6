import ElemtaReactor
import ElemtaSMTP

/// Where this very server listens: a probe that goes there would ask itself.
struct OwnAddresses: Sendable {
    private let bound: [SocketAddress]
    private let interfaces: Set<IPAddress>

    /// `bound`: what the listeners are bound to.
    init(bound: [SocketAddress], interfaces: Set<IPAddress> = HostNetworks.ownAddresses()) {
        self.bound = bound
        self.interfaces = interfaces
    }

    /// Of this machine, and a port that a listener has there.
    func contains(_ address: SocketAddress) -> Bool {
        guard let host = address.ipAddress, host.isLoopback || interfaces.contains(host) else {
            return false
        }
        return bound.contains { listener in
            guard let own = listener.ipAddress else { return false }
            return listener.port == address.port && (own == host || own.isUnspecified)
        }
    }
}

extension IPAddress {
    /// What a listener is bound to that takes every address.
    fileprivate var isUnspecified: Bool {
        switch storage {
        case .v4(let number): number == 0
        case .v6(let high, let low): high == 0 && low == 0
        }
    }
}
