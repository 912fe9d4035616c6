import ElemtaConfiguration
import ElemtaSMTP

/// Who may send to whom: anyone to the local domains, known networks anywhere (RFC 5321 7.1).
struct RelayPolicy: Sendable {
    private let localNames: Set<Domain>
    /// The patterns that are more than one name: `.example.com`, `*`.
    private let localPatterns: [Configuration.DomainPattern]
    private let relays: HostNetworks.Relays

    init(localDomains: [Configuration.DomainPattern], relays: HostNetworks.Relays) {
        var names: Set<Domain> = []
        var patterns: [Configuration.DomainPattern] = []
        for pattern in localDomains {
            switch pattern {
            case .exact(let name): names.insert(name)
            case .subdomains, .any: patterns.append(pattern)
            }
        }
        localNames = names
        localPatterns = patterns
        self.relays = relays
    }

    func isLocal(_ domain: Domain) -> Bool {
        localNames.contains(domain) || localPatterns.contains { $0.matches(domain) }
    }

    /// True for a client in `allowed_relays`; v4-mapped addresses count as v4.
    func mayRelay(_ client: IPAddress) -> Bool {
        relays.contains(client)
    }

    /// `mayRelay`: the client may send anywhere, by its address or because it has logged in.
    func accepts(_ recipient: ForwardPath, mayRelay: Bool) -> Bool {
        switch recipient {
        case .postmaster: true
        case .mailbox(let mailbox): mayRelay || isLocal(mailbox.domain)
        }
    }
}
