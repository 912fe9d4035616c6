import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Logging

/// One client: its connection, its protocol machine, and the message that is arriving from it.
///
/// The session asks the machine what the next octets mean and does what it says: what SMTP is the
/// machine knows, what this deployment allows the server knows. Reactor thread only.
final class Session {
    /// What comes before the dialogue.
    enum Opening {
        /// A load balancer says first for whom it speaks.
        case proxyHeader
        /// Implicit TLS.
        case handshake
        /// The greeting waits, and who speaks before it is refused (`limits.greet_delay`).
        case greeting(LoopTimer)
        case over
    }

    /// Whether octets of the client's are looked at.
    enum Intake {
        case open
        /// The client doesn't read its replies: it isn't read from either.
        case heldUntilRepliesAreRead
        /// Its content waits for the disk.
        case heldUntilContentIsWritten
        /// The session is over; its last replies are on their way, and its connection counts until
        /// they are sent.
        case leaving
        /// The connection is gone.
        case ended
    }

    /// The message that is arriving or being committed. Indirect: an envelope would take 200 octets of
    /// every session, and most have none.
    indirect enum Message {
        case none
        case arriving(IncomingContent)
        /// Refused on the way: what still comes is read and dropped. With the name that it had.
        case refused(MessageID?)
        /// Complete; the disk has yet to sync its file. Octets of memory it still holds.
        case syncing(IncomingContent, Envelope)
        /// With the spool, with so many octets in memory; answered by `committed(_:)`.
        case committing(Envelope, octetCount: Int)
    }

    /// Who ended the session, for the log.
    enum Ending: String {
        /// The client closed the connection, without QUIT.
        case client
        /// With QUIT (RFC 5321 4.1.1.10).
        case quit
        /// With 421, or the connection was closed for what the client did or didn't do.
        case server
        /// The connection broke.
        case failed
    }

    /// What a reply is about.
    enum ReplySubject {
        case command
        /// The whole of a message, of which a name is known where one was given.
        case message(MessageID?)
    }

    /// Commands served in one callback before the other clients have their turn.
    private static let commandsPerTurn = 64

    // Large fields before small ones: as they came to mind they took 24 octets more of each session.

    let server: Server
    let profile: ListenerProfile
    private(set) var connectionID = ConnectionID(slot: 0, generation: 0)
    var connection: Connection?
    var machine: ServerSession
    /// Fires when an answer has been held back long enough.
    private var delay: LoopTimer?
    var message = Message.none
    let begin = MonotonicTime.now
    /// Octets of content that came since MAIL.
    private var contentCount = 0
    var opening = Opening.over
    /// MAIL plus `limits.transaction_timeout`; nil outside a transaction.
    var transactionDeadline: MonotonicTime?
    /// Of `client`, which a load balancer or XCLIENT may change.
    var rights: ClientRights
    var intake = Intake.open
    /// The client has closed its side: what it sent is served, then the session ends.
    var isLastInput = false
    /// What is being answered; nil between two commands.
    private var command: ServerSession.Command?
    var ending = Ending.client
    /// Octets of the recipient that is being looked up.
    private var recipientCount: Int16 = 0
    /// What the recipients of the transaction stand for so far.
    var mailboxCount: Int32 = 0
    /// Octets of the envelope so far, and of everything that was accounted for last.
    var envelopeCount: Int32 = 0
    var accountedCount: Int32 = 0
    /// Messages answered 250.
    var acceptedCount: Int32 = 0
    /// When the client last did something that counts.
    var progress = CoarseTime.now

    init(client: ClientIdentity, rights: ClientRights, profile: ListenerProfile, server: Server) {
        self.server = server
        self.profile = profile
        self.rights = rights
        machine = ServerSession(
            parameters: profile.parameters, client: client,
            bareNewlineExempt: rights.isBareNewlineExempt)
    }

    /// Takes the connection over.
    func begin(_ connection: Connection, id: ConnectionID) {
        self.connection = connection
        connection.tag = id.token
        connectionID = id
        open()
    }

    /// Who sends: for the limits, the log and the trace field.
    var client: IPAddress { machine.client.address }

    /// Its name in the log.
    var id: SessionID { SessionID(connectionID) }

    func happened(_ event: ConnectionEvent, on connection: Connection) {
        switch event {
        case .connected, .drained: break
        case .tlsEstablished: tlsEstablished(connection)
        case .readable: serve()
        case .unsentBelowLimit:
            if case .heldUntilRepliesAreRead = intake { release() }
        case .closedByPeer:
            isLastInput = true
            serve()
        case .failed(let error):
            ending = .failed
            if case .handshake = machine.expectation { server.tlsFailed(error, of: self) }
            end()
        case .closed: end()
        }
    }

    // MARK: Serving

    /// Serves what is in the input, as far as it goes.
    func serve() {
        switch opening {
        case .proxyHeader: readProxyHeader()
        case .handshake: break
        case .greeting: awaitGreeting()
        case .over: converse()
        }
    }

    private func converse() {
        var served = 0
        var isProgress = false
        serving: while case .open = intake, machine.expectation.wantsOctets, let connection {
            guard served < Self.commandsPerTurn else {
                // What is left has its turn after the other clients.
                connection.resumeReading()
                settle(progressed: true, leftover: .commands)
                return
            }
            let isContent = machine.expectation.isContent
            switch nextStep(of: connection) {
            case .needMore:
                if isLastInput { finish() }
                break serving
            case .drop(let count):
                connection.withInput { $0.drain(count) }
                if isContent { contentCount += count }
                isProgress = isProgress || machine.expectation.isContent
            case .keep(let count):
                contentCount += count
                keep(count, of: connection)
                isProgress = true
            case .keepLineEnd(let count):
                connection.withInput { $0.drain(count) }
                if case .arriving(let content) = message { content.append([0x0D, 0x0A]) }
            case .act(let action, let count):
                connection.withInput { $0.drain(count) }
                served += 1
                if isContent { contentCount += count }
                noteCommand()
                perform(action)
            }
            holdIfUnread()
        }
        settle(progressed: served > 0 || isProgress)
        // However the transaction ended that kept the session from being told before.
        if server.isDraining { serverIsShuttingDown() }
    }

    /// For the metrics.
    private func noteCommand() {
        guard let begun = machine.takeCommand() else { return }
        command = begun
        if begun == .known(.mail) { contentCount = 0 }
        server.counters.count(begun)
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

    /// Does what the machine says, at once or, for `.delay`, when its time has come: so long after
    /// `start`, or from now on.
    ///
    /// - Parameter id: the message that the action is about, when it is this session's no longer.
    func perform(
        _ action: Action, delayedFrom start: MonotonicTime? = nil, of id: MessageID? = nil
    ) {
        switch action {
        case .none: break
        case .reply(let reply): send(reply)
        case .close(let reply):
            ending = reply?.code == 221 ? .quit : .server
            if let reply { send(reply, to: contentSubject) }
            finish()
        case .delay(let seconds): wait(until: (start ?? .now) + .seconds(seconds))
        case .startTLS(let reply): startTLS(after: reply)
        case .debug(let view): send(machine.debugReply(view, sessionID: "\(self.id)"))
        case .ask(let question): perform(answer(question))
        case .abandonContent: dropContent()
        case .refuseContent(let reply):
            let id = id ?? message.id
            dropContent()
            message = .none
            transactionEnded()
            send(reply, to: .message(id))
        }
    }

    private func wait(until end: MonotonicTime) {
        delay = server.loop.after(max(end - .now, .zero)) { [weak self] in self?.delayEnded() }
    }

    private func delayEnded() {
        delay = nil
        perform(machine.delayEnded())
        serve()
    }

    private func answer(_ question: Question) -> Action {
        switch question {
        case .sender:
            let verdict = server.verdictOnSender(of: self)
            if case .accept = verdict { transactionBegan() }
            return machine.resume(with: verdict)
        case .recipient(let path):
            recipientCount = Int16(path.accountedCount)
            return server.verdict(on: path, of: self).map { conclude($0) } ?? .none
        case .content(let transaction):
            return machine.resume(with: beginContent(transaction))
        case .commit(let transaction, let summary):
            return commit(transaction, summary)
        case .authenticate(let credentials):
            guard let outcome = server.verify(credentials, of: self) else { return .none }
            return machine.resume(with: outcome)
        case .impossibleLogin(let user):
            return machine.resume(with: server.refuseLogin(of: user, session: self))
        case .client(let identity, let login):
            return machine.resume(with: server.admit(identity, login: login, for: self))
        }
    }

    /// What became of the credentials that came at `received`.
    func verified(_ outcome: AuthenticationOutcome, received: MonotonicTime) {
        guard isServing else { return }
        perform(machine.resume(with: outcome), delayedFrom: received)
        serve()
    }

    /// What was found out about the recipient of the open RCPT.
    func answered(_ verdict: Verdict) {
        guard isServing else { return }
        perform(conclude(verdict))
        serve()
    }

    /// Ends the open RCPT.
    private func conclude(_ verdict: Verdict) -> Action {
        if case .accept = verdict { envelopeCount += Int32(recipientCount) }
        return machine.resume(with: verdict)
    }

    /// Counts a recipient that is about to be accepted; false when there are too many mailboxes
    /// that the recipients of this transaction stand for.
    func admitMailboxes(_ count: Int, limit: Int) -> Bool {
        guard mailboxCount == 0 || Int(mailboxCount) + count <= limit else { return false }
        mailboxCount += Int32(count)
        return true
    }

    // MARK: Sending

    func send(_ reply: Reply, to subject: ReplySubject = .command) {
        connection?.write(reply.octets)
        server.counters.count(reply, to: command, octets: contentCount)
        // An intermediate reply isn't the last one to its command.
        if !(300...399).contains(reply.code) { command = nil }
        if !reply.isPositive { server.refused(reply, subject, of: self) }
    }

    /// A client that sends and doesn't read must not fill our memory with its replies.
    private func holdIfUnread() {
        guard case .open = intake, let connection, connection.unsentCount > unsentLimit else {
            return
        }
        intake = .heldUntilRepliesAreRead
        connection.pauseReading()
    }

    /// Looks at octets again.
    func release() {
        intake = .open
        connection?.resumeReading()
        serve()
    }

    // MARK: Ending

    /// False once the session is over.
    var isServing: Bool {
        switch intake {
        case .open, .heldUntilRepliesAreRead, .heldUntilContentIsWritten: true
        case .leaving, .ended: false
        }
    }

    /// Sends what is owed, then closes.
    func finish() {
        guard isServing else { return }
        letGo()
        intake = .leaving
        connection?.closeAfterFlush()
    }

    /// The connection is gone. Whatever other threads still say of this session finds nothing.
    func end() {
        if case .ended = intake { return }
        letGo()
        intake = .ended
        connection = nil
        server.ended(self)
    }

    private func letGo() {
        guard isServing else { return }
        opening = .over
        delay = nil
        dropContent()
        message = .none
        server.sessions.setDeadline(nil, for: connectionID)
        server.budget.account(from: Int(accountedCount), to: 0)
        accountedCount = 0
    }

    /// Says 421 unless a transaction is running; then it is asked again when that has ended.
    func serverIsShuttingDown() {
        guard isServing, let action = machine.shuttingDown() else { return }
        perform(action)
    }

    /// The server stops now, whatever the client is in the middle of.
    func cutOff() {
        guard isServing else { return }
        perform(machine.cutOff())
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
    /// What one recipient costs in memory, about, octets: its own, those around them, and its place in
    /// an array that has grown by doubling. Measured: 134 to 180 for an address of 25 octets.
    var accountedCount: Int32 { Int32(mailbox?.octets.count ?? 0) + 144 }
}
