import ElemtaConfiguration
import ElemtaSMTP

/// What a client may do because of its address, before it has said anything.
struct ClientRights: Equatable {
    /// It is in `allowed_relays`: it may send anywhere, and what is counted per address isn't
    /// counted for it.
    var mayRelay = false
    /// It is in `limits.xclient_hosts`.
    var mayUseXCLIENT = false
    /// It is in `limits.bare_newline_exempt`.
    var isBareNewlineExempt = false

    /// Of a load balancer that speaks for nobody, or for somebody it doesn't know.
    static let none = ClientRights()

    /// Its connections aren't counted per address: they are many clients', or known.
    var isExempt: Bool { mayRelay || mayUseXCLIENT }

    /// Of the client itself. Who may say for whom it speaks has no right to relay before it has: the
    /// clients behind it would all have it.
    var ofConnection: ClientRights {
        var rights = self
        if mayUseXCLIENT { rights.mayRelay = false }
        return rights
    }
}

extension ClientRights {
    init(of address: IPAddress, _ configuration: Configuration, _ policy: RelayPolicy) {
        let limits = configuration.limits
        mayRelay = policy.mayRelay(address)
        mayUseXCLIENT = limits.xclientHosts.contains { $0.contains(address) }
        isBareNewlineExempt = limits.bareNewlineExempt.contains { $0.contains(address) }
    }
}
