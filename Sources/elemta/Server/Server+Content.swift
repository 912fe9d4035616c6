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
            overflow: messages.overflow { [unowned self, unowned session] in
                envelope(
                    id, arrival: now, client: trace, transaction, ContentSummary(), from: session)
            },
            completed: { result in pipe.post(.spilled(name, id, result)) })
        let hostname = configuration.hostname.description
        let received = ReceivedField.octets(
            heloName: trace.heloName, address: session.client, hostname: hostname,
            protocolName: trace.protocolName, tls: session.machine.tls, id: id.octets,
            recipient: transaction.recipients.count == 1
                ? transaction.recipients.first?.path : nil,
            time: now)
        guard session.profile.isSubmission else {
            content.append(received)
            return content
        }
        content.awaitHeader(trace: received) { fields in
            SubmissionFields.octets(
                missingIn: fields, id: "\(id)", hostname: hostname, time: now)
        }
        return content
    }

    /// Whether a session may send anywhere, by its address or because it has logged in.
    func mayRelay(_ session: Session) -> Bool {
        session.rights.mayRelay || session.machine.user != nil
    }

    /// A message was answered 250, for the log.
    func accepted(_ envelope: Envelope, from session: Session) {
        counters.acceptedMessages += 1
        counters.acceptedOctets += envelope.contentOctets
        messages.answered(envelope, session: session.id)
    }

    func contentFileFailed(_ id: MessageID, because reason: String, of session: Session) {
        log.write(
            .contentFileFailed,
            [.id: "\(id)", .session: "\(session.id)", .error: "\(reason)"])
    }

    /// A refusal, for the log; what the client said isn't in it.
    func refused(_ reply: Reply, _ subject: Session.ReplySubject, of session: Session) {
        switch subject {
        case .command: log.write(.commandRejected, fields(of: session, reply))
        case .message(let id):
            var fields = fields(of: session, reply)
            if let id { fields[.id] = "\(id)" }
            log.write(.messageRejected, fields)
        }
    }

    private func fields(of session: Session, _ reply: Reply) -> LogFields {
        [
            .session: .described(session.id), .client: .described(session.client),
            .reply: "\(reply)",
        ]
    }

    /// Hands a complete message over; `acknowledged(_:)` follows when it is safe.
    func submit(_ envelope: Envelope, _ content: SubmittedContent, for session: ConnectionID) {
        messages.accept(
            Submission(token: session.token, envelope: envelope, content: content),
            session: SessionID(session))
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
