import ElemtaReactor
import ElemtaSMTP

/// What a session may cost in memory and in time.
extension Session {
    /// What a look at the input has left in it.
    enum Leftover {
        /// Commands that have their turn after other clients.
        case commands
        /// The beginning of a line, or nothing.
        case line
    }

    /// Octets of input that may wait while no content is expected. While there are whole commands
    /// nothing more is read: 20,000 clients that send all they have at once must not fill memory before
    /// they are answered. Only AUTH has lines that don't fit into 4 KiB; they wait while memory is short.
    private func commandInputLimit(_ leftover: Leftover, waiting: Int) -> Int {
        switch leftover {
        case .commands where waiting > 0: waiting
        case .commands, .line: waiting > Self.shortLine && !server.budget.isShort ? 16 * 1024 : 4096
        }
    }
    /// No line but that of AUTH goes on for long after so many octets.
    private static let shortLine = 2048
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
    ///
    /// - Parameter leftover: what the input has, if octets are wanted at all.
    func settle(progressed: Bool, leftover: Leftover = .line) {
        guard isServing, let connection else { return }
        let isContent = machine.expectation.isContent
        noteTransaction(isContent: isContent)
        let waiting = connection.withInput { $0.count }
        connection.inputLimit =
            isContent
            ? Connection.defaultInputLimit
            : commandInputLimit(
                machine.expectation.wantsOctets ? leftover : .commands, waiting: waiting)
        account(for: connection, input: waiting)
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

    /// What libevent has for so many octets of input: segments of powers of two, 8 KiB for the 4 KiB
    /// that it reads at once.
    private static func segments(of count: Int) -> Int {
        guard count > 1024 else { return count }
        return max(1 << (Int.bitWidth - (count - 1).leadingZeroBitCount), 8192)
    }

    private func account(for connection: Connection, input: Int) {
        let unsent = connection.unsentCount
        let buffers = Self.segments(of: input) + unsent + unsent / 2
        let held = Int32(clamping: buffers + messageCount) + envelopeCount
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
        if CoarseTime(now).isLater(than: progress, by: Self.patience) { return true }
        guard let transactionDeadline else { return false }
        let begin = transactionDeadline + (.zero - server.timeouts.transaction)
        return now >= begin + Self.transactionPatience
    }
}
