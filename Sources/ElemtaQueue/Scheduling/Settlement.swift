import ElemtaSMTP

/// What outcomes make of an envelope: a pure function of both, the policy and the time.
struct Settlement {
    private(set) var envelope: Envelope
    /// Recipients that somebody is to be told about.
    private(set) var reports: [ReportedRecipient] = []
    /// Of the outcome that is being applied.
    private var summary = Summary()
    /// When that was tried; nil: it wasn't.
    private var attempt: UnixTime?

    private let policy: RetryPolicy
    private let delayWarning: Int64
    private let now: UnixTime
    private let spread: Double
    private var worstRank = -1

    /// What came of one outcome.
    struct Summary {
        fileprivate(set) var delivered: UInt32 = 0
        fileprivate(set) var deferred: UInt32 = 0
        fileprivate(set) var failed: UInt32 = 0
        /// The worst that was said, and until when it is put off if it was a deferral.
        fileprivate(set) var worst: DeliveryStatus?
        fileprivate(set) var nextAttempt: UnixTime?
    }

    /// Seconds after which what wasn't attempted is offered again.
    static let offerAgain: Int64 = 1

    /// - Parameter spread: 0...1, how much of the spread of the retry delay to use.
    init(
        _ envelope: Envelope, policy: RetryPolicy, delayWarning: Int64, now: UnixTime,
        spread: Double
    ) {
        self.envelope = envelope
        self.policy = policy
        self.delayWarning = delayWarning
        self.now = now
        self.spread = spread
    }

    /// Applies what was found to those of `members` that are still pending.
    mutating func apply(
        _ finding: TakenOutcome.Finding, to members: [UInt32], at destination: Destination
    ) -> Summary {
        summary = Summary()
        attempt = finding.isAttempt ? now : nil
        worstRank = -1
        switch finding {
        case .results(.all(let result)):
            for index in members { apply(result, to: Int(index)) }
        case .results(.unreached(let reason)):
            for index in members { apply(.deferred(reason), to: Int(index)) }
        case .results(.each(let list)):
            var byRecipient = [RecipientResult?](repeating: nil, count: envelope.recipients.count)
            for (index, result) in list where Int(index) < byRecipient.count {
                byRecipient[Int(index)] = result
            }
            for index in members where Int(index) < byRecipient.count {
                apply(byRecipient[Int(index)] ?? .notAttempted, to: Int(index))
            }
        case .waited(let reason): review(members, reason)
        }
        if let worst = summary.worst {
            envelope.note(
                DeliveryAttempt(
                    time: now, destination: destination.name, delivered: summary.delivered,
                    deferred: summary.deferred, failed: summary.failed, status: worst))
        }
        return summary
    }

    /// Nothing was tried, and the message's deadline has come: its time is over, or somebody is to
    /// be told that it takes long, whatever it is that each recipient waits for.
    private mutating func review(_ members: [UInt32], _ reason: DeliveryStatus) {
        let isOver = now >= envelope.arrival + policy.maximumQueueTime
        for index in members.map({ Int($0) }) {
            guard case .pending(let attempts, let next, _) = envelope.recipients[index].state
            else { continue }
            if isOver {
                giveUp(index, reason)
            } else {
                envelope.recipients[index].state = .pending(
                    attempts: attempts, nextAttempt: next, lastReason: reason)
            }
        }
        for index in envelope.recipients.indices {
            guard case .pending(_, _, let own) = envelope.recipients[index].state else { continue }
            reportDelay(of: index, own ?? reason)
        }
    }

    private mutating func apply(_ result: RecipientResult, to index: Int) {
        guard case .pending(let attempts, _, let reason) = envelope.recipients[index].state
        else { return }
        let notify = envelope.recipients[index].notify
        switch result {
        case .delivered(let status):
            finish(index, status)
            if notify.contains(.success) { report(index, .delivered, status) }
        case .relayed(let status, let reportsFollow):
            finish(index, status)
            if notify.contains(.success), !reportsFollow { report(index, .relayed, status) }
        case .failed(let status): fail(index, status)
        case .deferred(let status): put(off: index, attempts: attempts + 1, status)
        case .notAttempted:
            envelope.recipients[index].state = .pending(
                attempts: attempts, nextAttempt: now + Self.offerAgain, lastReason: reason)
        }
    }

    private mutating func finish(_ index: Int, _ status: DeliveryStatus) {
        envelope.recipients[index].state = .delivered(status)
        summary.delivered += 1
        note(status, rank: 0)
    }

    private mutating func fail(_ index: Int, _ status: DeliveryStatus) {
        envelope.recipients[index].state = .failed(status)
        summary.failed += 1
        note(status, rank: 2)
        // RFC 3461 4.1: without NOTIFY failures are reported.
        let notify = envelope.recipients[index].notify
        if notify.isEmpty || notify.contains(.failure) { report(index, .failed, status) }
    }

    private mutating func put(off index: Int, attempts: UInt32, _ status: DeliveryStatus) {
        let next = policy.nextAttempt(
            after: attempts, arrival: envelope.arrival, now: now, spread: spread)
        guard let next else { return giveUp(index, status) }
        envelope.recipients[index].state = .pending(
            attempts: attempts, nextAttempt: next, lastReason: status)
        summary.deferred += 1
        note(status, rank: 1)
        summary.nextAttempt = next
        reportDelay(of: index, status)
    }

    private mutating func giveUp(_ index: Int, _ status: DeliveryStatus) {
        var status = status
        // RFC 3463 3.5: X.4.7 only when the real problem isn't known.
        status.enhancedStatus =
            status.enhancedStatus ?? EnhancedStatus(.persistentTransientFailure, 4, 7)
        fail(index, status)
    }

    private mutating func reportDelay(of index: Int, _ status: DeliveryStatus) {
        guard delayWarning > 0, now >= envelope.arrival + delayWarning,
            envelope.recipients[index].awaitsDelayReport
        else { return }
        envelope.recipients[index].delayReported = true
        report(index, .delayed, status, until: envelope.arrival + policy.maximumQueueTime)
    }

    private mutating func report(
        _ index: Int, _ action: ReportAction, _ status: DeliveryStatus, until: UnixTime? = nil
    ) {
        reports.append(
            ReportedRecipient(
                recipient: envelope.recipients[index], action: action, status: status,
                lastAttempt: attempt,
                retriedUntil: until))
    }

    private mutating func note(_ status: DeliveryStatus, rank: Int) {
        guard rank > worstRank else { return }
        worstRank = rank
        summary.worst = status
    }
}
