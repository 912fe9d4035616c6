import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// The way of one message from the input to the spool.
extension Session {
    func beginContent(_ transaction: MailTransaction) -> Verdict {
        guard
            let content = server.beginContent(
                transaction, trace: trace(of: transaction), for: self)
        else { return .refuse(.insufficientStorage) }
        message = .arriving(content)
        return .accept
    }

    func keep(_ count: Int, of connection: Connection) {
        guard case .arriving(let content) = message else {
            connection.withInput { $0.drain(count) }
            return
        }
        connection.withInput { content.append(moving: count, from: &$0) }
        content.complete(header: machine.headerFields)
        guard content.makeRoom(in: server.budget) else {
            message = .refused(content.id)
            machine.failContent(with: .insufficientStorage)
            return
        }
        if content.isBehind {
            intake = .heldUntilContentIsWritten
            connection.pauseReading()
        }
    }

    /// The content is complete: the 250 comes from `committed(_:)`, after the disk has it.
    func commit(_ transaction: MailTransaction, _ summary: ContentSummary) -> Action {
        guard case .arriving(let content) = message else {
            return machine.resume(with: .refuse(.insufficientStorage))
        }
        let envelope = server.envelope(
            content.id, arrival: SpoolOptions.systemClock(), client: trace(of: transaction),
            transaction, summary, from: self)
        content.complete(header: summary.fields)
        switch content.complete() {
        case .inMemory(let octets):
            message = .committing(envelope, octetCount: octets.octetCount)
            server.submit(envelope, .inMemory(octets), for: connectionID)
            return .none
        case .underWay:
            message = .syncing(content, envelope)
            return .none
        case .gone:
            message = .none
            return machine.resume(with: .refuse(.insufficientStorage))
        }
    }

    /// The spool's answer: for `.accepted` the commit has returned.
    func committed(_ verdict: Verdict) {
        guard isServing else { return }
        if case .committing(let envelope, _) = message, case .accepted = verdict {
            acceptedCount += 1
            server.accepted(envelope, from: self)
        }
        let id = message.id
        message = .none
        transactionEnded()
        perform(machine.resume(with: verdict), of: id)
        serve()
    }

    /// What the files pool did for `id`; stale when that message is no longer this session's.
    func contentWasSpilled(_ id: MessageID, _ result: SpillResult) {
        switch (message, result) {
        case (.arriving(let content), .failed(let reason)) where content.id == id:
            server.contentFileFailed(id, because: reason, of: self)
            message = .refused(content.id)
            machine.failContent(with: .insufficientStorage)
        case (.syncing(let content, _), .failed(let reason)) where content.id == id:
            server.contentFileFailed(id, because: reason, of: self)
            committed(.refuse(.insufficientStorage))
            return
        case (.syncing(let content, let envelope), .finished(let file)) where content.id == id:
            message = .committing(envelope, octetCount: 0)
            server.submit(envelope, .file(file), for: connectionID)
            return
        case (.arriving(let content), _) where content.id == id,
            (.syncing(let content, _), _) where content.id == id:
            content.took(result)
        default:
            return
        }
        // What was written isn't held in memory any more, whatever the client does next.
        settle(progressed: false)
        resumeIfWritten()
    }

    private func resumeIfWritten() {
        guard case .heldUntilContentIsWritten = intake else { return }
        if case .arriving(let content) = message, content.isBehind { return }
        release()
    }

    func dropContent() {
        switch message {
        case .arriving(let content), .syncing(let content, _): content.abandon()
        case .none, .refused, .committing: break
        }
        message = .refused(message.id)
    }

    /// What a reply is about that ends the session: a message that was on its way is lost with it.
    var contentSubject: ReplySubject {
        switch message {
        case .arriving, .refused: .message(message.id)
        // The spool may still take it.
        case .none, .syncing, .committing: .command
        }
    }

    private func trace(of transaction: MailTransaction) -> ClientTrace {
        ClientTrace(
            heloName: machine.heloName, address: client,
            protocolName: machine.protocolName(for: transaction))
    }

    /// Octets of content in memory.
    var messageCount: Int {
        switch message {
        case .none, .refused: 0
        case .arriving(let content), .syncing(let content, _): content.memoryCount
        case .committing(_, let octetCount): octetCount
        }
    }
}

extension Session.Message {
    /// Nil where there is none, or it had no name.
    var id: MessageID? {
        switch self {
        case .none: nil
        case .refused(let id): id
        case .arriving(let content), .syncing(let content, _): content.id
        case .committing(let envelope, _): envelope.id
        }
    }
}
