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
    /// A domain with a limit of its own (`delivery.rate`): its mail has a queue of its own too.
    var limitedDomain: Domain?

    /// `smtp:mail.example.com:25`, `mx:example.com`, `lmtp:[127.0.0.1]:24`, `lmtp+unix:/run/lmtp`,
    /// `maildir:/var/mail/{domain}/{local}`, `discard`; with what differs from the default behind the
    /// first word: `smtp+required:...`, `mx+login+off:...`, `smtp+to=example.com:...`.
    var name: String {
        switch hop {
        case .discard: "discard"
        case .maildir(let template): "maildir:\(template.text)"
        case .lmtp(let server): name("lmtp", server)
        case .smtp(let server): name("smtp", server)
        }
    }

    private func name(_ word: String, _ server: RemoteServer) -> String {
        let kind: String
        switch server.host {
        case .address, .host: kind = word
        case .mailExchangers: kind = "mx"
        // There is nothing to agree on over a socket of this machine.
        case .socket(let path): return "\(word)+unix:\(path)"
        }
        let login = logsIn ? "+login" : ""
        let policy = Self.words.first { $0.policy == tls }.map { "+\($0.word)" } ?? ""
        let limit = limitedDomain.map { "+\(Self.limitWord)\($0)" } ?? ""
        return "\(kind)\(login)\(policy)\(limit):\(server)"
    }

    private static let limitWord = "to="
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
        let hop: NextHop? =
            switch words.popFirst() {
            case "smtp": RemoteServer(authority: rest).map { .smtp($0) }
            case "mx": RemoteServer(exchangersOf: rest).map { .smtp($0) }
            case "lmtp" where words == ["unix"]: RemoteServer(socket: rest).map { .lmtp($0) }
            case "lmtp": RemoteServer(authority: rest).map { .lmtp($0) }
            case "maildir" where words.isEmpty: MaildirTemplate(rest).map { .maildir($0) }
            default: nil
            }
        guard let hop else { return nil }
        self.init(hop: hop)
        if hop.server?.server.isSocket ?? true { return }
        if let last = words.last, last.hasPrefix(Self.limitWord) {
            guard let domain = Domain(String(last.dropFirst(Self.limitWord.count))) else {
                return nil
            }
            limitedDomain = domain
            words.removeLast()
        }
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
    /// What a message that makes this demand gets where the configuration says `self` for mail to
    /// `hop`.
    ///
    /// REQUIRETLS is about the way (RFC 8689 4.2.1), and a mailbox on this machine is its end.
    ///
    /// `TLS-Required: No` is about what the recipient's side wants (RFC 8689 3). A route stands in
    /// for that; the way to a relay host is ours, and the relay reads the field for itself.
    func with(
        _ demand: TransportDemand, to hop: NextHop, isRelayHost: Bool
    ) -> ClientTLSPolicy {
        switch (demand, self) {
        case (.tls, _): hop.isLocalMailbox ? self : .requireTLS
        case (.delivery, .required) where !isRelayHost: .opportunistic
        case (.delivery, _), (.none, _): self
        }
    }
}
