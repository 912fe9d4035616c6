import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Logging

/// One client: its connection, its protocol machine, and the message that is arriving from it.
///
/// The session asks the machine what the next octets mean and does what it says: what SMTP is the
/// machine knows, what this deployment allows the server knows. Reactor thread only.
final class Session: ConnectionDelegate {
    /// Whether octets of the client's are looked at.
    private enum Intake {
        case open
        /// The client doesn't read its replies: it isn't read from either.
        case heldUntilRepliesAreRead
        /// Its content waits for the disk.
        case heldUntilContentIsWritten
        /// The session is over.
        case ended
    }

    /// The message that is arriving or being committed.
    private enum Message {
        case none
        case arriving(IncomingContent)
        /// Refused on the way: what still comes is read and dropped.
        case refused
        /// Complete; the disk has yet to sync its file. Octets of memory it still holds.
        case syncing(IncomingContent, Envelope)
        /// With the spool, with so many octets in memory; answered by `committed(_:)`.
        case committing(Envelope, octetCount: Int)
    }

    /// Unsent replies beyond which a session isn't read from (design section 4), octets.
    static let unsentLimit = 16 * 1024
    /// Commands served in one callback before the other clients have their turn.
    private static let commandsPerTurn = 64

    let client: IPAddress
    private(set) var id = ConnectionID(slot: 0, generation: 0)
    private let server: Server
    private var connection: Connection?
    private var machine: ServerSession
    private var intake = Intake.open
    private var message = Message.none
    /// The client has closed its side: what it sent is served, then the session ends.
    private var isLastInput = false
    /// Octets of the envelope so far, and of everything that was accounted for last.
    private var envelopeCount: Int32 = 0
    private var accountedCount: Int32 = 0
    /// MAIL plus `limits.transaction_timeout`; nil outside a transaction.
    private var transactionDeadline: MonotonicTime?

    init(client: IPAddress, machine: consuming ServerSession, server: Server) {
        self.client = client
        self.machine = machine
        self.server = server
    }

    /// Takes the connection over and greets.
    func begin(_ connection: Connection, id: ConnectionID) {
        self.connection = connection
        self.id = id
        send(machine.greeting())
        settle(progressed: true)
    }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        switch event {
        case .connected, .tlsEstablished, .drained: break
        case .readable: serve()
        case .unsentBelowLimit:
            if case .heldUntilRepliesAreRead = intake { release() }
        case .closedByPeer:
            isLastInput = true
            serve()
        case .failed, .closed: end()
        }
    }

    // MARK: Serving

    /// Serves what is in the input, as far as it goes.
    private func serve() {
        var served = 0
        var isProgress = false
        serving: while case .open = intake, machine.expectation.wantsOctets, let connection {
            guard served < Self.commandsPerTurn else {
                // What is left has its turn after the other clients.
                connection.resumeReading()
                settle(progressed: true)
                return
            }
            switch nextStep(of: connection) {
            case .needMore:
                if isLastInput { finish() }
                break serving
            case .drop(let count):
                connection.withInput { $0.drain(count) }
                isProgress = isProgress || machine.expectation.isContent
            case .keep(let count):
                keep(count, of: connection)
                isProgress = true
            case .keepLineEnd(let count):
                connection.withInput { $0.drain(count) }
                if case .arriving(let content) = message { content.append([0x0D, 0x0A]) }
            case .act(let action, let count):
                connection.withInput { $0.drain(count) }
                served += 1
                perform(action)
            }
            holdIfUnread()
        }
        settle(progressed: served > 0 || isProgress)
        // However the transaction ended that kept the session from being told before.
        if server.isDraining { serverIsShuttingDown() }
    }

    /// Asks the machine about the front of the input; a line that straddles two segments is first
    /// made one piece.
    private func nextStep(of connection: Connection) -> Step {
        connection.withInput { input in
            var seen = 0
            let step = input.withFirstSegment { segment in
                seen = segment.count
                return machine.next(in: segment)
            }
            let needed = min(input.count, ServerSession.maximumContiguous)
            guard case .needMore = step, seen < needed else { return step }
            input.makeContiguous(needed)
            return input.withFirstSegment { machine.next(in: $0) }
        }
    }

    private func keep(_ count: Int, of connection: Connection) {
        guard case .arriving(let content) = message else {
            connection.withInput { $0.drain(count) }
            return
        }
        connection.withInput { content.append(moving: count, from: &$0) }
        content.spillIfLong(isMemoryShort: server.budget.isShort)
        if content.isBehind {
            intake = .heldUntilContentIsWritten
            connection.pauseReading()
        }
    }

    private func perform(_ action: Action) {
        switch action {
        case .none: break
        case .reply(let reply): send(reply)
        case .close(let reply):
            if let reply { send(reply) }
            finish()
        case .delay: perform(machine.delayEnded())
        case .startTLS: perform(machine.refuseTLS(.unavailable))
        case .debug(let view): send(machine.debugReply(view, sessionID: "\(id.token)"))
        case .ask(let question): perform(answer(question))
        case .abandonContent: dropContent()
        case .refuseContent(let reply):
            dropContent()
            message = .none
            transactionEnded()
            send(reply)
        }
    }

    private func answer(_ question: Question) -> Action {
        switch question {
        case .sender:
            let verdict = server.verdictOnSender()
            if case .accept = verdict { transactionBegan() }
            return machine.resume(with: verdict)
        case .recipient(let path):
            let verdict = server.verdict(on: path, from: client)
            if case .accept = verdict { envelopeCount += path.accountedCount }
            return machine.resume(with: verdict)
        case .content(let transaction):
            guard
                let content = server.beginContent(
                    transaction, trace: trace(of: transaction), for: self)
            else {
                return machine.resume(with: .refuse(.insufficientStorage))
            }
            message = .arriving(content)
            return machine.resume(with: .accept)
        case .commit(let transaction, let summary):
            return commit(transaction, summary)
        case .authenticate:
            return machine.resume(with: .unavailable)
        case .client:
            return machine.resume(with: .refuse(.tooManyConnectionsFromAddress))
        }
    }

    /// The content is complete: the 250 comes from `committed(_:)`, after the disk has it.
    private func commit(_ transaction: MailTransaction, _ summary: ContentSummary) -> Action {
        guard case .arriving(let content) = message else {
            return machine.resume(with: .refuse(.insufficientStorage))
        }
        let envelope = Envelope(
            id: content.id, arrival: SpoolOptions.systemClock(), client: trace(of: transaction),
            transaction: server.addressed(transaction), summary: summary)
        switch content.complete() {
        case .inMemory(let octets):
            message = .committing(envelope, octetCount: octets.octetCount)
            server.submit(envelope, .inMemory(octets), for: id)
            return .none
        case .underWay:
            message = .syncing(content, envelope)
            return .none
        case .gone:
            message = .none
            return machine.resume(with: .refuse(.insufficientStorage))
        }
    }
}

// MARK: - Told by the server

extension Session {
    /// The spool's answer: for `.accepted` the commit has returned.
    func committed(_ verdict: Verdict) {
        if case .committing(let envelope, _) = message, case .accepted = verdict {
            server.accepted(envelope, from: self)
        }
        message = .none
        transactionEnded()
        perform(machine.resume(with: verdict))
        serve()
    }

    /// What the files pool did for `id`; stale when that message is no longer this session's.
    func contentWasSpilled(_ id: MessageID, _ result: SpillResult) {
        switch (message, result) {
        case (.arriving(let content), .failed(let reason)) where content.id == id:
            server.log.error(
                "content_file_failed", metadata: ["id": "\(id)", "error": "\(reason)"])
            message = .refused
            machine.failContent(with: .insufficientStorage)
        case (.syncing(let content, _), .failed(let reason)) where content.id == id:
            server.log.error(
                "content_file_failed", metadata: ["id": "\(id)", "error": "\(reason)"])
            committed(.refuse(.insufficientStorage))
            return
        case (.syncing(let content, let envelope), .finished(let file)) where content.id == id:
            message = .committing(envelope, octetCount: 0)
            server.submit(envelope, .file(file), for: self.id)
            return
        case (.arriving(let content), _) where content.id == id,
            (.syncing(let content, _), _) where content.id == id:
            content.took(result)
        default:
            return
        }
        resumeIfWritten()
    }

    /// The deadline that `settle` set has passed.
    func deadlinePassed() {
        guard machine.expectation.wantsOctets || isUnread else {
            // We owe the answer: the client isn't late.
            settle(progressed: true)
            return
        }
        perform(machine.timedOut())
        settle(progressed: false)
    }

    /// Says 421 unless a transaction is running; then it is asked again when that has ended.
    func serverIsShuttingDown() {
        guard connection != nil, let action = machine.shuttingDown() else { return }
        perform(action)
    }
}

// MARK: - Details

extension Session {
    private func trace(of transaction: MailTransaction) -> ClientTrace {
        ClientTrace(
            heloName: machine.heloName, address: client,
            protocolName: machine.protocolName(for: transaction))
    }

    private var isUnread: Bool { (connection?.unsentCount ?? 0) > 0 }

    private func send(_ reply: Reply) {
        connection?.write(reply.octets)
        if !reply.isPositive { server.replied(reply, to: self) }
    }

    /// A client that sends and doesn't read must not fill our memory with its replies.
    private func holdIfUnread() {
        guard case .open = intake, let connection, connection.unsentCount > Self.unsentLimit else {
            return
        }
        intake = .heldUntilRepliesAreRead
        connection.pauseReading()
    }

    private func resumeIfWritten() {
        guard case .heldUntilContentIsWritten = intake else { return }
        if case .arriving(let content) = message, content.isBehind { return }
        release()
    }

    private func release() {
        intake = .open
        connection?.resumeReading()
        serve()
    }

    private func dropContent() {
        switch message {
        case .arriving(let content), .syncing(let content, _): content.abandon()
        case .none, .refused, .committing: break
        }
        message = .refused
    }

    private func transactionBegan() {
        transactionDeadline = .now + server.timeouts.transaction
    }

    private func transactionEnded() {
        transactionDeadline = nil
        envelopeCount = 0
    }

    /// Sends what is owed, then closes.
    private func finish() {
        guard case .ended = intake else {
            connection?.closeAfterFlush()
            end()
            return
        }
    }

    /// Lets everything go. Whatever the spool still says of this session finds nothing.
    func end() {
        if case .ended = intake { return }
        intake = .ended
        dropContent()
        message = .none
        connection = nil
        server.budget.account(from: Int(accountedCount), to: 0)
        accountedCount = 0
        server.ended(self)
    }

    /// Accounts for what is held and sets the next deadline, once per callback.
    private func settle(progressed: Bool) {
        guard let connection else { return }
        if !machine.isInTransaction, case .none = message { transactionEnded() }
        let input = connection.withInput { $0.count }
        let held = Int32(clamping: input + connection.unsentCount + messageCount) + envelopeCount
        if held != accountedCount {
            server.budget.account(from: Int(accountedCount), to: Int(held))
            accountedCount = held
        }
        guard progressed else { return }
        let isContent = machine.expectation.isContent
        let allowed = isContent ? server.timeouts.data : server.timeouts.command
        var deadline = MonotonicTime.now + allowed
        if let transactionDeadline { deadline = min(deadline, transactionDeadline) }
        server.sessions.setDeadline(deadline, for: id)
    }

    private var messageCount: Int {
        switch message {
        case .none, .refused: 0
        case .arriving(let content), .syncing(let content, _): content.memoryCount
        case .committing(_, let octetCount): octetCount
        }
    }
}

extension Expectation {
    /// True where octets are looked at.
    var wantsOctets: Bool {
        switch self {
        case .commandLine, .response, .mailData, .chunk: true
        case .handshake, .answer, .closed: false
        }
    }

    var isContent: Bool {
        switch self {
        case .mailData, .chunk: true
        case .commandLine, .response, .handshake, .answer, .closed: false
        }
    }
}

extension ForwardPath {
    /// What one recipient costs in memory, about, octets.
    var accountedCount: Int32 { Int32(mailbox?.octets.count ?? 0) + 96 }
}
