import ElemtaReactor
import ElemtaSMTP

/// What a session may cost in memory and in time.
extension Session {
    /// Octets of input that may wait while no content is expected: enough for the longest line, or,
    /// when memory is short, for all but that of AUTH.
    private var commandInputLimit: Int { server.budget.isShort ? 4096 : 16 * 1024 }
    /// Unsent replies beyond which a session isn't read from (design section 4), octets.
    var unsentLimit: Int { server.budget.isShort ? 4096 : 16 * 1024 }
    /// A session that holds less is left alone when memory is short, octets.
    private static let smallCount = 4096
    /// What the others get to go on, when memory is short.
    private static let patience = Duration.seconds(10)
    /// Of a transaction that goes on slowly then.
    private static let transactionPatience = Duration.seconds(60)

    func transactionBegan() {
        transactionDeadline = .now + server.timeouts.transaction
    }

    func transactionEnded() {
        transactionDeadline = nil
        envelopeCount = 0
        mailboxCount = 0
    }

    /// Accounts for what is held and sets the next deadline, once per callback.
    func settle(progressed: Bool) {
        guard isServing, let connection else { return }
        let isContent = machine.expectation.isContent
        noteTransaction(isContent: isContent)
        connection.inputLimit = isContent ? Connection.defaultInputLimit : commandInputLimit
        account(for: connection)
        guard progressed else { return }
        progress = .now
        server.sessions.setDeadline(deadline, for: connectionID)
    }

    /// Content that is refused, and only read to find its end, has the same time as a message.
    private func noteTransaction(isContent: Bool) {
        if machine.isInTransaction || isContent {
            if transactionDeadline == nil { transactionBegan() }
            return
        }
        switch message {
        case .none: transactionEnded()
        case .refused:
            message = .none
            transactionEnded()
        case .arriving, .syncing, .committing: break
        }
    }

    private func account(for connection: Connection) {
        let input = connection.withInput { $0.count }
        let held = Int32(clamping: input + connection.unsentCount + messageCount) + envelopeCount
        guard held != accountedCount else { return }
        server.budget.account(from: Int(accountedCount), to: Int(held))
        accountedCount = held
    }

    private var deadline: MonotonicTime {
        let step = MonotonicTime.now + allowedTime
        // A transaction has a limit of its own, and isn't cut off by the session's.
        return min(step, transactionDeadline ?? sessionDeadline)
    }

    private var sessionDeadline: MonotonicTime { begin + server.timeouts.session }

    /// `limits.session_timeout` has passed.
    var isOverTime: Bool { .now >= sessionDeadline }

    /// What the client gets for its next step.
    private var allowedTime: Duration {
        switch (opening, machine.expectation) {
        case (.proxyHeader, _), (.handshake, _), (_, .handshake): server.timeouts.handshake
        case (_, .mailData), (_, .chunk): server.timeouts.data
        case (_, .commandLine), (_, .response), (_, .answer), (_, .closed): server.timeouts.command
        }
    }

    /// The deadline that `settle` set has passed.
    func deadlinePassed() {
        switch opening {
        case .proxyHeader, .handshake:
            finish()
        case .greeting:
            settle(progressed: true)
        case .over:
            guard isClientLate else {
                // We owe the answer.
                settle(progressed: true)
                return
            }
            let isOver = transactionDeadline == nil && isOverTime
            perform(isOver ? machine.lastedTooLong() : machine.timedOut())
            settle(progressed: false)
        }
    }

    private var isClientLate: Bool {
        if let connection, connection.unsentCount > 0 { return true }
        switch machine.expectation {
        case .commandLine, .response, .mailData, .chunk, .handshake: return true
        case .answer, .closed: return false
        }
    }

    // MARK: When memory is short

    /// Whoever holds much moves it to the disk, goes on, or goes: slow clients must not keep
    /// everybody else's mail out. Asked once a second.
    func yieldMemory() {
        guard isServing, accountedCount > Self.smallCount else { return }
        if case .arriving(let content) = message {
            _ = content.makeRoom(in: server.budget)
        }
        guard isClientLate, case .over = opening, isTooSlow(at: .now) else { return }
        server.yielded(self)
        perform(machine.timedOut())
    }

    private func isTooSlow(at now: MonotonicTime) -> Bool {
        if now >= progress + Self.patience { return true }
        guard let transactionDeadline else { return false }
        let begin = transactionDeadline + (.zero - server.timeouts.transaction)
        return now >= begin + Self.transactionPatience
    }
}
