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
    /// What was said while the outcome was applied, each once, the worst first.
    private var said: [Said] = []

    private struct Said {
        let fate: Fate
        let status: DeliveryStatus
        var count: UInt32
    }

    /// What became of a recipient, the best first.
    private enum Fate: Int {
        case delivered
        case deferred
        case failed
    }

    /// Words kept of one attempt. More come of a next hop that says something else to each of very
    /// many recipients.
    private static let wordsLimit = 4

    /// What came of one outcome.
    struct Summary {
        fileprivate(set) var delivered: UInt32 = 0
        fileprivate(set) var deferred: UInt32 = 0
        fileprivate(set) var failed: UInt32 = 0
        /// What was said to the first that failed, and to the first that was put off until then.
        fileprivate(set) var refusal: DeliveryStatus?
        fileprivate(set) var deferral: DeliveryStatus?
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
        said = []
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
        summary.refusal = said.first { $0.fate == .failed }?.status
        summary.deferral = said.first { $0.fate == .deferred }?.status
        for words in said {
            envelope.note(
                DeliveryAttempt(
                    time: now, destination: destination.name,
                    delivered: words.fate == .delivered ? words.count : 0,
                    deferred: words.fate == .deferred ? words.count : 0,
                    failed: words.fate == .failed ? words.count : 0, status: words.status))
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
        note(status, .delivered)
    }

    private mutating func fail(_ index: Int, _ status: DeliveryStatus) {
        envelope.recipients[index].state = .failed(status)
        summary.failed += 1
        note(status, .failed)
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
        note(status, .deferred)
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

    private mutating func note(_ status: DeliveryStatus, _ fate: Fate) {
        // Whoever has got it needs no words of his own.
        let same = said.firstIndex {
            $0.fate == fate && (fate == .delivered || $0.status == status)
        }
        let hasRoom = said.count < Self.wordsLimit
        if let known = same ?? (hasRoom ? nil : said.lastIndex { $0.fate == fate }) {
            said[known].count += 1
            return
        }
        let place = said.firstIndex { $0.fate.rawValue < fate.rawValue } ?? said.endIndex
        said.insert(Said(fate: fate, status: status, count: 1), at: place)
    }
}
