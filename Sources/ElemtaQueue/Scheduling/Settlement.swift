import ElemtaSMTP

/// What an outcome makes of an envelope: a pure function of both, the policy and the time.
struct Settlement {
    private(set) var envelope: Envelope
    /// Recipients that somebody is to be told about.
    private(set) var reports: [ReportedRecipient] = []
    /// Among the recipients of the outcome.
    private(set) var delivered: UInt32 = 0
    private(set) var deferred: UInt32 = 0
    private(set) var failed: UInt32 = 0
    /// The worst that was said, and until when it is put off if it was a deferral.
    private(set) var worst: DeliveryStatus?
    private(set) var nextAttempt: UnixTime?

    private let policy: RetryPolicy
    private let delayWarning: Int64
    private let now: UnixTime
    private let spread: Double
    private var worstRank = -1

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

    /// Applies the results to those of `members` that are still pending.
    mutating func apply(
        _ results: DeliveryOutcome.Results, to members: [UInt32], at destination: Destination
    ) {
        switch results {
        case .all(let result):
            for index in members { apply(result, to: Int(index)) }
        case .each(let list):
            var byRecipient = [RecipientResult?](repeating: nil, count: envelope.recipients.count)
            for (index, result) in list where Int(index) < byRecipient.count {
                byRecipient[Int(index)] = result
            }
            for index in members where Int(index) < byRecipient.count {
                apply(byRecipient[Int(index)] ?? .notAttempted, to: Int(index))
            }
        }
        if let worst {
            envelope.note(
                DeliveryAttempt(
                    time: now, destination: destination.name, delivered: delivered,
                    deferred: deferred, failed: failed, status: worst))
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
        delivered += 1
        note(status, rank: 0)
    }

    private mutating func fail(_ index: Int, _ status: DeliveryStatus) {
        envelope.recipients[index].state = .failed(status)
        failed += 1
        note(status, rank: 2)
        // RFC 3461 4.1: without NOTIFY failures are reported.
        let notify = envelope.recipients[index].notify
        if notify.isEmpty || notify.contains(.failure) { report(index, .failed, status) }
    }

    private mutating func put(off index: Int, attempts: UInt32, _ status: DeliveryStatus) {
        let next = policy.nextAttempt(
            after: attempts, arrival: envelope.arrival, now: now, spread: spread)
        guard let next else {
            var status = status
            // RFC 3463 3.5: X.4.7 only when the real problem isn't known.
            status.enhancedStatus =
                status.enhancedStatus ?? EnhancedStatus(.persistentTransientFailure, 4, 7)
            fail(index, status)
            return
        }
        envelope.recipients[index].state = .pending(
            attempts: attempts, nextAttempt: next, lastReason: status)
        deferred += 1
        note(status, rank: 1)
        nextAttempt = next
        guard delayWarning > 0, now >= envelope.arrival + delayWarning,
            envelope.recipients[index].notify.contains(.delay),
            !envelope.recipients[index].delayReported
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
                retriedUntil: until))
    }

    private mutating func note(_ status: DeliveryStatus, rank: Int) {
        guard rank > worstRank else { return }
        worstRank = rank
        worst = status
    }
}
