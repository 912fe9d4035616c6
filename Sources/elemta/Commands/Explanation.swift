import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaSMTP

/// What would happen to a message, step by step, each with the key of the configuration that says so.
/// Nothing is sent; directories and next hops are asked about a recipient as a session would ask.
struct Explanation {
    /// The message that is asked about.
    struct Question {
        var sender: ReversePath
        var recipient: ForwardPath
        var client: IPAddress
        /// The client has logged in.
        var isLoggedIn = false
        /// Octets of content, if that is to be asked too.
        var octets: Int?
        /// Index of the listener that it comes to, and the key that it is from.
        var listener = 0
        var listenerKey = "listeners[0]"
    }

    struct Step: Equatable {
        let topic: String
        let text: String
        let key: String
    }

    private(set) var steps: [Step] = []
    /// The reply that refuses it; nil: it is accepted.
    private(set) var refusal: Reply?
    private(set) var verdict = ""

    private let question: Question
    private let configuration: Configuration
    private let relays: HostNetworks.Relays
    private let policy: RelayPolicy
    private let rights: ClientRights
    private let recipients: RecipientRules
    private let ask: (Mailbox) -> RecipientAnswer
    /// Whom the mail goes to in the recipient's place, where it is an alias.
    private var targets: [Mailbox] = []

    /// Targets whose ways are told.
    private static let shownTargets = 10

    /// - Parameters:
    ///   - rules: nil in dev mode, where nothing is delivered.
    ///   - ask: asks the directory, or the next hop, that knows such mailboxes. May take its time.
    init(
        _ question: Question, _ configuration: Configuration, _ rules: DeliveryRules?,
        recipients: RecipientRules, relays: HostNetworks.Relays,
        ask: @escaping (Mailbox) -> RecipientAnswer
    ) {
        self.recipients = recipients
        self.ask = ask
        self.question = question
        self.configuration = configuration
        self.relays = relays
        policy = RelayPolicy(localDomains: configuration.localDomains, relays: relays)
        rights = ClientRights(of: question.client, configuration, policy)
        explainListener()
        explainClient()
        explainSender()
        explainRecipient()
        if refusal == nil { explainDelivery(rules) }
        if let refusal { verdict = "refused: \(Self.text(of: refusal))" }
    }

    private mutating func step(_ topic: String, _ text: String, _ key: String) {
        steps.append(Step(topic: topic, text: text, key: key))
    }

    /// Only the first refusal is what the client hears.
    private mutating func refuse(_ reply: Reply, _ topic: String, _ text: String, _ key: String) {
        refusal = refusal ?? reply
        step(topic, "\(Self.text(of: reply)): \(text)", key)
    }

    private static func text(of reply: Reply) -> String {
        String(decoding: reply.octets.dropLast(2), as: UTF8.self)
    }

    // MARK: - Coming in

    private var listener: Configuration.Listener { configuration.listeners[question.listener] }

    private var listenerKey: String { question.listenerKey }

    private mutating func explainListener() {
        let tls =
            switch listener.tls {
            case .implicit: "inside TLS"
            case .starttls: configuration.tls.enabled ? "STARTTLS is offered" : "no TLS"
            case .off: "no TLS"
            }
        step("listener", "\(listener.address), \(tls)", listenerKey)
        if listener.proxyProtocol {
            step(
                "proxy", "the client's address is what a trusted proxy says",
                "\(listenerKey).trusted_proxies")
        }
    }

    private mutating func explainClient() {
        let limits = configuration.limits
        let address = question.client
        if rights.mayRelay {
            let subnet = relays.subnets.first { $0.contains(address) }
            let network = subnet.map { " (\($0))" } ?? ""
            step("client", "\(address) may send anywhere\(network)", "allowed_relays")
        } else {
            step("client", "\(address) is a stranger, not in \(relays)", "allowed_relays")
        }
        if rights.mayUseXCLIENT {
            step("client", "it may speak for others by XCLIENT", "limits.xclient_hosts")
        }
        if !rights.isExempt {
            let most =
                limits.maxConnectionsPerIP > 0
                ? "\(limits.maxConnectionsPerIP)" : "50, or 5 % of all if that is more,"
            step(
                "limits", "at most \(most) connections at once from its address",
                "limits.max_connections_per_ip")
        }
        if !rights.mayRelay, let rate = limits.ratePerIP {
            step("limits", "at most \(rate) messages, then 450 to MAIL", "limits.rate_per_ip")
        }
        if !rights.mayRelay, limits.greetDelay > 0 {
            step("limits", "greeted after \(limits.greetDelay) s", "limits.greet_delay")
        }
    }

    private mutating func explainSender() {
        let isRequired =
            configuration.auth.enabled
            && (configuration.auth.required || listener.authRequired)
        let key = listener.authRequired ? "\(listenerKey).auth_required" : "auth.required"
        switch (isRequired, question.isLoggedIn) {
        case (true, false):
            refuse(.loginRequired, "login", "only clients that log in may send", key)
        case (_, true) where !configuration.auth.enabled:
            step("login", "nobody can log in", "auth.enabled")
        case (_, true):
            step("login", "logged in, which the users' settings may limit", "auth.enabled")
        case (false, false): step("login", "not needed", key)
        }
        let sender = question.sender
        let kind = sender == .null ? ", a report: about it nobody is told anything" : ""
        let utf8 = sender.mailbox?.isInternationalized == true ? ", with SMTPUTF8 only" : ""
        step(
            "from",
            "\(sender)\(kind)\(utf8), to at most \(configuration.limits.maxRecipients) recipients",
            "limits.max_recipients")
        let most = configuration.maxMessageSize
        if let octets = question.octets, octets > most {
            refuse(
                .messageTooLarge, "size", "\(octets) octets, and at most \(most) are taken",
                "max_message_size")
        } else {
            step("size", "at most \(most) octets", "max_message_size")
        }
    }

    private mutating func explainRecipient() {
        let canLogIn = question.isLoggedIn && configuration.auth.enabled
        switch question.recipient {
        case .postmaster:
            let whom =
                configuration.postmaster.map { "\($0)" } ?? "postmaster@\(configuration.hostname)"
            step("to", "<Postmaster>, which is <\(whom)>", "postmaster")
            // It is taken whoever that is (RFC 5321 4.5.1), and followed where it is an alias.
            guard let mailbox = addressed.mailbox,
                case .alias(let targets, let rule) = recipients.find(mailbox)
            else { return }
            follow(targets, by: rule, lookupKey(of: mailbox))
        case .mailbox(let mailbox):
            if policy.isLocal(mailbox.domain) {
                let pattern = configuration.localDomains.first { $0.matches(mailbox.domain) }
                let words = pattern.map { " (\($0))" } ?? ""
                step(
                    "to", "<\(mailbox)> is in a local domain\(words), open to anyone",
                    "local_domains")
                explainLookup(of: mailbox)
            } else if rights.mayRelay {
                step("to", "<\(mailbox)> is elsewhere, and the client may relay", "allowed_relays")
            } else if canLogIn {
                step(
                    "to", "<\(mailbox)> is elsewhere, and the client has logged in", "auth.enabled")
            } else {
                refuse(
                    .relayingDenied, "to",
                    "\(mailbox.domain) is no local domain, and the client may not relay",
                    "local_domains")
            }
        }
    }

    private mutating func explainLookup(of mailbox: Mailbox) {
        let key = lookupKey(of: mailbox)
        switch recipients.find(mailbox) {
        case .unrestricted: step("exists", "every local part is taken", key)
        case .exists(let rule): step("exists", "yes, by \(rule)", key)
        case .alias(let targets, let rule): follow(targets, by: rule, key)
        case .unknown(let rule): refuse(.unknownRecipient, "exists", "no, by \(rule)", key)
        case .directory(_, let names, let rule):
            let name = names.joined(separator: ", then ")
            explainAnswer(about: mailbox, "\(rule), asked for \(name)", key)
        case .callout where configuration.devMode:
            step("exists", "yes: in dev mode no next hop is asked", key)
        case .callout: explainAnswer(about: mailbox, "the domain's route, asked for it", key)
        case .misconfigured(let reason, let rule):
            refuse(.recipientMisconfigured, "exists", "\(reason), by \(rule)", key)
        }
    }

    private func lookupKey(of mailbox: Mailbox) -> String {
        let place = configuration.recipients.firstIndex { $0.domain.matches(mailbox.domain) }
        return place.map { "recipients[\($0)]" } ?? "recipients"
    }

    private mutating func follow(_ targets: [Mailbox], by rule: String, _ key: String) {
        self.targets = targets
        let paths = targets.map { ForwardPath.mailbox($0) }
        let names = ForwardPath.abridged(paths, octetLimit: 500)
        step("exists", "an alias of \(names), by \(rule)", key)
    }

    /// What somebody else says just now.
    private mutating func explainAnswer(about mailbox: Mailbox, _ who: String, _ key: String) {
        switch ask(mailbox) {
        case .exists: step("exists", "yes, says \(who)", key)
        case .unknown: refuse(.unknownRecipient, "exists", "no, says \(who)", key)
        case .unavailable, .misconfigured:
            refuse(.recipientUnavailable, "exists", "no answer now from \(who)", key)
        }
    }

    // MARK: - Going out

    private var addressed: ForwardPath {
        guard question.recipient == .postmaster else { return question.recipient }
        let postmaster =
            configuration.postmaster
            ?? Mailbox(localPart: "postmaster".utf8, domain: configuration.hostname)
        return postmaster.map { .mailbox($0) } ?? .postmaster
    }

    private mutating func explainDelivery(_ rules: DeliveryRules?) {
        guard let rules else {
            step("route", "none: messages are kept in memory and shown", "dev_mode")
            verdict = "accepted, and delivered to nobody"
            return
        }
        for target in targets.prefix(Self.shownTargets) {
            let decision = rules.decision(for: .mailbox(target), demand: .none)
            step(
                "route",
                "<\(target)>: \(decision.destination) by \(rules.words(for: decision.rule))",
                decision.rule.key)
        }
        if !targets.isEmpty {
            let noun = targets.count == 1 ? "mailbox" : "mailboxes"
            verdict = "accepted, and delivered to \(targets.count) \(noun)"
            return
        }
        let decision = rules.decision(for: addressed, demand: .none)
        let key = decision.rule.key
        step("route", "\(decision.destination) by \(rules.words(for: decision.rule))", key)
        if let security = decision.security {
            switch decision.rule {
            case .route: step("tls", security, "\(key).tls")
            case .relayHost: step("tls", security, "delivery.relay_tls")
            case .mailExchangers: step("tls", security, key)
            }
        }
        let retry = rules.retry
        let delays = retry.schedule.map(String.init).joined(separator: ", ")
        step("retries", "after \(delays) s, the last repeating", "queue.retry_schedule")
        step(
            "retries", "at most \(retry.maximumAttempts) attempts", "queue.max_retries")
        step(
            "retries", "for at most \(retry.maximumQueueTime) s, then it comes back",
            "queue.max_queue_time")
        verdict = "accepted, and delivered to \(decision.destination)"
    }
}
