import ElemtaSMTP

/// What a transaction will have changed once it is committed: applied to the schedule, the files and
/// the outside world after the commit returned, and dropped without a trace when it fails.
struct Draft {
    var changes: [ScheduleChange] = []
    var acknowledgements: [Acknowledgement] = []
    /// Messages whose content files go.
    var removedFiles: [MessageID] = []
    /// Content files of submissions that were refused for their own sake.
    var discarded: [FinishedContentFile] = []
    var events: [SpoolEvent] = []
}

enum ScheduleChange {
    case add(MessagePlan)
    /// The same message with other destinations.
    case reroute(MessagePlan)
    case remove(MessageID)
    case settle(MessageID, Destination, needsReview: Bool, deadline: Int64, [GroupPlan])
    case expedite(MessageID)
    case hold(MessageID)
    case release(MessageID)
}

extension Schedule {
    mutating func apply(_ change: ScheduleChange, now: UnixTime) {
        switch change {
        case .add(let plan): add(plan)
        case .reroute(let plan): reroute(plan)
        case .remove(let id): remove(id)
        case .settle(let id, let destination, let needsReview, let deadline, let plans):
            settle(id, destination, with: plans, review: (needsReview, deadline))
        case .expedite(let id): expedite(id)
        case .hold(let id): hold(id)
        case .release(let id): release(id, now: now)
        }
    }
}
