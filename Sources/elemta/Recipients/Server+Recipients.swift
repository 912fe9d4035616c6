import ElemtaConfiguration
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Logging

/// RCPT: who may be sent to, who exists, and what becomes of aliases.
extension Server {
    /// Mailboxes that the recipients of one message may stand for, at least; `limits.max_recipients`
    /// when that is more.
    private static let leastMailboxCount = AliasExpansion.maximumCount

    /// Relaying, who exists, and room for a longer envelope. Nil: `answered(_:for:)` follows.
    func verdict(on recipient: ForwardPath, of session: Session) -> Verdict? {
        guard policy.accepts(recipient, mayRelay: mayRelay(session)) else {
            return .refuse(.relayingDenied)
        }
        guard !budget.isExhausted else { return .refuse(.insufficientStorage) }
        // `<Postmaster>` is taken whoever that is (RFC 5321 4.5.1).
        guard let recipients, let mailbox = recipient.mailbox else { return .accept }
        return recipients.ask(mailbox, for: session.connectionID)
            .map { verdict(for: $0, of: session) }
    }

    /// What was found out about the recipient that a session has asked for; stale when it has gone.
    func answered(_ answer: RecipientAnswer, for id: ConnectionID) {
        guard let session = sessions[id] else { return }
        session.answered(verdict(for: answer, of: session))
    }

    private func verdict(for answer: RecipientAnswer, of session: Session) -> Verdict {
        switch answer {
        case .exists(let count):
            let limit = max(configuration.limits.maxRecipients, Self.leastMailboxCount)
            // RFC 5321 4.5.3.1.10: what is too many here goes in another transaction.
            guard session.admitMailboxes(count, limit: limit) else {
                return .refuse(.tooManyRecipients)
            }
            return .accept
        case .unknown: return .refuse(.unknownRecipient)
        case .unavailable: return .refuse(.recipientUnavailable)
        case .misconfigured: return .refuse(.recipientMisconfigured)
        }
    }

    // MARK: The envelope

    /// The envelope as it is queued: `<Postmaster>` is somebody, and aliases are the mailboxes that
    /// they stand for. Both are looked up again, since the files may have changed since RCPT.
    func envelope(
        _ id: MessageID, arrival: UnixTime, client: ClientTrace, _ transaction: MailTransaction,
        _ summary: ContentSummary, from session: Session
    ) -> Envelope {
        let (addressed, expanded) = withAliases(withPostmaster(transaction, from: session))
        var envelope = Envelope(
            id: id, arrival: arrival, client: client, transaction: addressed, summary: summary)
        for alias in expanded { envelope.note(expanded: alias.recipient, to: alias.count) }
        return envelope
    }

    /// `<Postmaster>` without a domain (RFC 5321 4.5.1) is somebody from here on.
    ///
    /// A stranger hears nothing more of it where that somebody isn't local: mail to our postmaster
    /// must not become reports to whomever the reverse-path names.
    private func withPostmaster(
        _ transaction: MailTransaction, from session: Session
    ) -> MailTransaction {
        guard transaction.recipients.contains(where: { $0.path == .postmaster }),
            let postmaster
        else { return transaction }
        let isKnown = mayRelay(session) || policy.isLocal(postmaster.domain)
        var addressed = transaction
        addressed.recipients = transaction.recipients.map { recipient in
            guard recipient.path == .postmaster else { return recipient }
            return AcceptedRecipient(
                path: .mailbox(postmaster), notify: isKnown ? recipient.notify : .never,
                originalRecipient: recipient.originalRecipient)
        }
        return addressed
    }

    /// Everybody gets one copy: a recipient that is given again is left out (the first one's
    /// parameters hold), and so is whom an alias brings who is a recipient anyway (those of the one
    /// that the client has given hold, wherever it stands).
    private func withAliases(
        _ transaction: MailTransaction
    ) -> (MailTransaction, expanded: [(recipient: AcceptedRecipient, count: Int)]) {
        let rules = recipients?.rules
        guard rules != nil || transaction.recipients.count > 1 else { return (transaction, []) }
        var given: Set<ForwardPath> = []
        let resolved = transaction.recipients.filter { given.insert($0.path).inserted }.map {
            (recipient: $0, alias: Self.alias($0, rules))
        }
        var seen = Set(
            resolved.compactMap { recipient, alias in
                alias == nil ? recipient.path.mailbox.map(AliasExpansion.Identity.init) : nil
            })
        var addressed = transaction
        addressed.recipients = []
        var expanded: [(recipient: AcceptedRecipient, count: Int)] = []
        for (recipient, alias) in resolved {
            guard let (mailbox, targets) = alias else {
                addressed.recipients.append(recipient)
                continue
            }
            if targets.count > 1, recipient.notify.contains(.success) {
                expanded.append((recipient, targets.count))
            }
            let others = AliasExpansion.recipients(of: recipient, known: mailbox, as: targets)
            for other in others {
                guard let target = other.path.mailbox,
                    seen.insert(AliasExpansion.Identity(target)).inserted
                else { continue }
                addressed.recipients.append(other)
            }
        }
        return (addressed, expanded)
    }

    /// The recipient as an alias, and whom it stands for; nil: nobody but itself.
    private static func alias(
        _ recipient: AcceptedRecipient, _ rules: RecipientRules?
    ) -> (Mailbox, targets: [Mailbox])? {
        guard let rules, let mailbox = recipient.path.mailbox,
            case .alias(let targets, _) = rules.find(mailbox)
        else { return nil }
        return (mailbox, targets)
    }
}
