import ElemtaSMTP

/// Follows aliases to the mailboxes that they stand for: RFC 5321 3.9.1.
struct AliasExpansion {
    enum Failure: Error, CustomStringConvertible {
        case loop(Mailbox)
        case tooDeep
        case tooMany

        var description: String {
            switch self {
            case .loop(let mailbox): "the alias leads back to <\(mailbox)>"
            case .tooDeep:
                "the alias leads over more than \(RecipientRules.maximumDepth) others"
            case .tooMany: "the alias stands for more than \(maximumCount) mailboxes"
            }
        }
    }

    /// What tells mailboxes apart.
    struct Identity: Hashable {
        private let localPart: [UInt8]
        private let domain: Domain

        init(_ mailbox: Mailbox) {
            localPart = mailbox.comparedLocalPart
            domain = mailbox.domain
        }
    }

    /// Mailboxes that one recipient may stand for.
    static let maximumCount = 1_000
    /// Steps on the way to them: aliases that share targets could have any number of ways.
    private static let maximumSteps = 10_000

    private let targets: (Mailbox) -> [Mailbox]?
    private var found: [Mailbox] = []
    private var identities: Set<Identity> = []
    private var stepCount = 0

    /// `targets`: who gets the mail of a mailbox in its place; nil: itself.
    init(targets: @escaping (Mailbox) -> [Mailbox]?) {
        self.targets = targets
    }

    /// The mailboxes that `mailbox` stands for, each once, in the order of the aliases; never
    /// empty.
    mutating func expand(_ mailbox: Mailbox) throws(Failure) -> [Mailbox] {
        try follow(mailbox, from: [])
        return found
    }

    /// `way`: the aliases that have led here.
    private mutating func follow(_ mailbox: Mailbox, from way: [Identity]) throws(Failure) {
        stepCount += 1
        guard stepCount <= Self.maximumSteps else { throw .tooMany }
        let identity = Identity(mailbox)
        // `alice: alice, bob` keeps a copy in Alice's own mailbox.
        let isItself = way.last == identity
        guard isItself || !way.contains(identity) else { throw .loop(mailbox) }
        guard !isItself, let targets = targets(mailbox) else { return try add(mailbox, identity) }
        guard way.count < RecipientRules.maximumDepth else { throw .tooDeep }
        for target in targets { try follow(target, from: way + [identity]) }
    }

    private mutating func add(_ mailbox: Mailbox, _ identity: Identity) throws(Failure) {
        guard identities.insert(identity).inserted else { return }
        guard found.count < Self.maximumCount else { throw .tooMany }
        found.append(mailbox)
    }
}

extension AliasExpansion {
    /// The recipients of a message in the place of `alias`, with what the sender asked of it.
    ///
    /// RFC 3461 5.2.7.2 and 5.2.7.3 (c): ORCPT names the alias to whoever reports later; SUCCESS isn't
    /// passed on to several, as the sender would hear of each of them.
    static func recipients(
        of alias: AcceptedRecipient, known mailbox: Mailbox, as targets: [Mailbox]
    ) -> [AcceptedRecipient] {
        let original = alias.originalRecipient ?? OriginalRecipient(mailbox)
        var notify = alias.notify
        if targets.count > 1, notify.contains(.success) {
            notify.remove(.success)
            // Without any condition failures would be reported.
            if notify.isEmpty { notify = .never }
        }
        return targets.map {
            AcceptedRecipient(path: .mailbox($0), notify: notify, originalRecipient: original)
        }
    }
}

extension OriginalRecipient {
    /// RFC 3461 4.2; RFC 6533 3 for what isn't ASCII.
    fileprivate init(_ mailbox: Mailbox) {
        let type = mailbox.isInternationalized ? "utf-8" : "rfc822"
        self.init(addressType: Array(type.utf8), address: mailbox.octets)
    }
}
