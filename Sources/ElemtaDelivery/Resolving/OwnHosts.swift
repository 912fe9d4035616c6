import ElemtaReactor
import ElemtaSMTP

/// Which mail hosts are this server itself: what is handed to them comes back.
struct OwnHosts: Sendable {
    private let names: Set<String>
    private let listening: [SocketAddress]

    init(_ settings: DeliverySettings) {
        let helo = Domain(settings.heloName)
        names = Set(
            [settings.hostname, helo].compactMap { $0.flatMap(DomainNameEncoding.asciiName) }
                .map { $0.lowercased() })
        listening = settings.listeningAddresses
    }

    /// Those of a domain's mail exchangers that come before ourselves: all when we are none of them,
    /// none when mail for the domain should have ended here. RFC 5321 5.1: whatever has our
    /// preference or a higher one is left out, lest two servers send mail to and fro.
    func hostsBeforeUs(_ hosts: [MailHost], port: UInt16) -> [MailHost] {
        guard let own = hosts.lazy.filter({ isOwn($0, port) }).map(\.preference).min() else {
            return hosts
        }
        return hosts.filter { $0.preference < own }
    }

    private func isOwn(_ host: MailHost, _ port: UInt16) -> Bool {
        isOwn(host.name, port: port)
            || host.addresses.contains { isListening(SocketAddress($0, port: port)) }
    }

    /// Whether a host has our name: behind a router that changes addresses that alone tells. On another
    /// port another program may listen.
    func isOwn(_ name: String, port: UInt16) -> Bool {
        port == RemoteServer.smtpPort && names.contains(name.lowercased())
    }

    /// Whether a connection to `address` would be one to ourselves.
    func isListening(_ address: SocketAddress) -> Bool {
        listening.contains { own in
            guard own.port == address.port else { return false }
            switch (own.host, address.host) {
            // To the kernel no address at all is the machine itself, and DNS can hold it.
            case (.v4(let number), .v4(0)): return number == 0 || number >> 24 == 127
            case (.v6(high: 0, low: let low), .v6(high: 0, low: 0)): return low <= 1
            case (.v4(0), .v4), (.v6(high: 0, low: 0), .v6): return address.isOfThisMachine
            case (_, _): return own == address
            }
        }
    }
}
