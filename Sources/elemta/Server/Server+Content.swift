import ElemtaConfiguration
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Logging

/// What the server says to a session's questions, and the way of content to where it goes.
extension Server {
    /// MAIL: is there room for one more message, and for one more of this client's?
    func verdictOnSender(of session: Session) -> Verdict {
        if isDraining { return .refuse(.shuttingDown) }
        // A transaction is never cut off by the session's limit, so none may begin after it.
        if session.isOverTime { return .refuse(.lastedTooLong) }
        guard !budget.isExhausted, messages.hasRoom else { return .refuse(.insufficientStorage) }
        guard session.rights.mayRelay || rates?.admit(session.client, at: loop.now.elapsed) != false
        else { return .refuse(.rateExceeded) }
        return .accept
    }

    /// RCPT: relaying, and room for a longer envelope.
    func verdict(on recipient: ForwardPath, of session: Session) -> Verdict {
        guard policy.accepts(recipient, mayRelay: mayRelay(session)) else {
            return .refuse(.relayingDenied)
        }
        return budget.isExhausted ? .refuse(.insufficientStorage) : .accept
    }

    /// DATA or the first BDAT: names the message and begins its content with the trace field
    /// (RFC 5321 4.4). Nil when memory is short.
    func beginContent(
        _ transaction: MailTransaction, trace: ClientTrace, for session: Session
    ) -> IncomingContent? {
        guard !budget.isExhausted, let pipe else { return nil }
        let id = messages.nextID()
        let now = SpoolOptions.systemClock()
        let name = session.connectionID
        let content = IncomingContent(
            id: id,
            overflow: messages.overflow {
                Envelope(
                    id: id, arrival: now, client: trace, transaction: transaction,
                    summary: ContentSummary())
            },
            completed: { result in pipe.post(.spilled(name, id, result)) })
        content.append(
            ReceivedField.octets(
                heloName: trace.heloName, address: session.client,
                hostname: "\(configuration.hostname)",
                protocolName: trace.protocolName, tls: session.machine.tls, id: "\(id)",
                recipient: transaction.recipients.count == 1
                    ? transaction.recipients.first?.path : nil,
                time: now))
        return content
    }

    /// `<Postmaster>` without a domain (RFC 5321 4.5.1) is somebody from here on.
    ///
    /// A stranger hears nothing more of it where that somebody isn't local: mail to our postmaster
    /// must not become reports to whomever the reverse-path names.
    func addressed(_ transaction: MailTransaction, from session: Session) -> MailTransaction {
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

    private func mayRelay(_ session: Session) -> Bool {
        session.rights.mayRelay || session.machine.user != nil
    }

    /// A message was answered 250, for the log.
    func accepted(_ envelope: Envelope, from session: Session) {
        messages.answered(envelope, session: "\(session.id)")
    }

    func contentFileFailed(_ id: MessageID, because reason: String) {
        log.error("content_file_failed", metadata: ["id": "\(id)", "error": "\(reason)"])
    }

    /// A refusal, for the log; what the client said isn't in it.
    func replied(_ reply: Reply, to session: Session) {
        log.debug(
            "command_rejected",
            metadata: [
                "client": "\(session.client)", "session": "\(session.id)",
                "reply": "\(reply)",
            ])
    }

    /// Hands a complete message over; `acknowledged(_:)` follows when it is safe.
    func submit(_ envelope: Envelope, _ content: SubmittedContent, for session: ConnectionID) {
        messages.accept(
            Submission(token: session.token, envelope: envelope, content: content),
            session: "\(SessionID(session))")
    }

    /// The ack instant: what is answered 250 here was committed before.
    func acknowledged(_ acknowledgement: Acknowledgement) {
        let session = sessions[ConnectionID(token: acknowledgement.token)]
        switch acknowledgement.result {
        case .success(let id): session?.committed(.accepted(id: id.octets))
        case .failure:
            // Why is in the log already: the spool says it once for a batch.
            session?.committed(.refuse(.insufficientStorage))
        }
    }
}

extension ConnectionID {
    /// As the spool carries it through a commit.
    var token: UInt64 { UInt64(generation) << 32 | UInt64(slot) }

    init(token: UInt64) {
        self.init(
            slot: UInt32(truncatingIfNeeded: token),
            generation: UInt32(truncatingIfNeeded: token >> 32))
    }
}
