import ElemtaDelivery
import ElemtaQueue

/// What the spool and the delivery workers have done; any thread.
final class DeliveryCounters: Sendable {
    /// What became of one attempt to deliver to one recipient, for the label `outcome`.
    enum Outcome: String, CaseIterable, Sendable {
        case delivered, deferred, failed
        case possiblyDuplicated = "possibly_duplicated"
        case loginFailed = "login_failed"
    }

    /// Recipients, also where several had one answer together.
    let deliveries = SharedTally<Outcome>()
    let durations = SharedHistogram(
        bounds: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300])
    let commitMessages = SharedHistogram(bounds: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    let commitDurations = SharedHistogram(
        bounds: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5])
    /// Recipients that have failed for good.
    let failedRecipients = SharedCount()
    /// Delivery reports that were queued.
    let reports = SharedCount()
    /// Messages that couldn't be put on disk, and were refused for it.
    let refused = SharedCount()

    func count(_ event: DeliveryEvent) {
        let outcome: Outcome =
            switch event.outcome {
            case .delivered: .delivered
            case .deferred: .deferred
            case .failed: .failed
            case .possiblyDuplicated: .possiblyDuplicated
            case .loginFailed: .loginFailed
            }
        deliveries.add(UInt64(event.recipientCount), to: outcome)
        durations.observe(event.duration.seconds)
    }

    func count(_ event: SpoolEvent) {
        switch event {
        case .committed(let messages, let duration):
            if messages > 0 { commitMessages.observe(Double(messages)) }
            commitDurations.observe(duration.seconds)
        case .failed(_, _, let recipients, _): failedRecipients.add(UInt64(recipients))
        case .reported: reports.add()
        case .refused(let count, _): refused.add(UInt64(count))
        case .checking, .opening, .salvaged, .lost, .suspected, .recovered, .quarantined, .deferred,
            .unreachable, .reachable, .expired, .reserveGivenUp, .reserveFilled, .stalled,
            .reopened, .resumed, .journalFailed:
            break
        }
    }
}
