import ElemtaReactor

/// Hosts with which TLS came to nothing a while ago, and that are spoken to in clear meanwhile where
/// the policy lets that be. Belongs to its worker's thread.
struct ClearHosts {
    /// Long enough to spare a host with broken TLS most of the attempts, short enough that one with
    /// an accident isn't spoken to in clear all day.
    static let memory = Duration.seconds(600)
    /// Hosts beyond these displace the others.
    static let maximumCount = 4_096

    private var hosts: [SocketAddress: (cause: String, until: MonotonicTime)] = [:]

    /// What went wrong; nil: TLS is to be tried.
    func cause(for address: SocketAddress, at now: MonotonicTime) -> String? {
        guard let host = hosts[address], now < host.until else { return nil }
        return host.cause
    }

    mutating func add(_ address: SocketAddress, because cause: String, at now: MonotonicTime) {
        if hosts.count >= Self.maximumCount { hosts = hosts.filter { now < $0.value.until } }
        if hosts.count >= Self.maximumCount { hosts = [:] }
        hosts[address] = (cause, now + Self.memory)
    }
}
