import ElemtaReactor
import ElemtaSMTP

/// What a session may cost in memory and in time.
extension Session {
    func transactionBegan() {
        transactionDeadline = .now + server.timeouts.transaction
    }

    func transactionEnded() {
        transactionDeadline = nil
        envelopeCount = 0
    }

    /// Accounts for what is held and sets the next deadline, once per callback.
    func settle(progressed: Bool) {
        guard let connection else { return }
        if !machine.isInTransaction, case .none = message { transactionEnded() }
        let input = connection.withInput { $0.count }
        let held = Int32(clamping: input + connection.unsentCount + messageCount) + envelopeCount
        if held != accountedCount {
            server.budget.account(from: Int(accountedCount), to: Int(held))
            accountedCount = held
        }
        guard progressed else { return }
        server.sessions.setDeadline(deadline, for: connectionID)
    }

    private var deadline: MonotonicTime {
        let step = MonotonicTime.now + allowedTime
        // A transaction has a limit of its own, and isn't cut off by the session's.
        return min(step, transactionDeadline ?? sessionDeadline)
    }

    private var sessionDeadline: MonotonicTime { begin + server.timeouts.session }

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
            let isOver = transactionDeadline == nil && .now >= sessionDeadline
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
}
