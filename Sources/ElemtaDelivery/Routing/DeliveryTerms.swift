import ElemtaQueue
import ElemtaSMTP

/// What mail of one destination has in common: the next hop, and on what terms it is spoken to. All
/// of it is in the destination's name, so that what goes on other terms has another queue and never
/// shares a connection.
struct DeliveryTerms: Hashable {
    let hop: NextHop
    var tls = ClientTLSPolicy.opportunistic
    /// With the user name and password for the relay host.
    var logsIn = false

    /// `smtp:mail.example.com:25`, `mx:example.com`, `discard`; with what differs from the default
    /// behind the first word: `smtp+required:...`, `mx+login+off:...`.
    var name: String {
        guard case .smtp(let server) = hop else { return "discard" }
        let kind =
            switch server.host {
            case .address, .host: "smtp"
            case .mailExchangers: "mx"
            }
        let login = logsIn ? "+login" : ""
        let policy = Self.words.first { $0.policy == tls }.map { "+\($0.word)" } ?? ""
        return "\(kind)\(login)\(policy):\(server)"
    }

    private static let words: [(policy: ClientTLSPolicy, word: String)] = [
        (.off, "off"), (.required, "required"), (.requireTLS, "requiretls"),
    ]
}

extension DeliveryTerms {
    /// The terms with that name; nil for a name that none have.
    init?(name: String) {
        if name == "discard" {
            self.init(hop: .discard)
            return
        }
        guard let colon = name.firstIndex(of: ":") else { return nil }
        let rest = String(name[name.index(after: colon)...])
        var words = name[..<colon].split(separator: "+", omittingEmptySubsequences: false)[...]
        let server: RemoteServer? =
            switch words.popFirst() {
            case "smtp": RemoteServer(authority: rest)
            case "mx": RemoteServer(relayHost: rest)
            default: nil
            }
        guard let server else { return nil }
        self.init(hop: .smtp(server))
        if words.first == "login" {
            logsIn = true
            words.removeFirst()
        }
        guard let word = words.popFirst() else { return }
        guard words.isEmpty, let policy = Self.words.first(where: { $0.word == word })?.policy
        else { return nil }
        tls = policy
    }
}

extension ClientTLSPolicy {
    /// What a message that makes this demand gets where the configuration says `self`.
    ///
    /// `TLS-Required: No` is about what the recipient's side wants (RFC 8689 3). A route stands in
    /// for that; the way to a relay host is ours, and the relay reads the field for itself.
    func with(_ demand: TransportDemand, toRelayHost: Bool) -> ClientTLSPolicy {
        switch (demand, self) {
        case (.tls, _): .requireTLS
        case (.delivery, .required) where !toRelayHost: .opportunistic
        case (.delivery, _), (.none, _): self
        }
    }
}
