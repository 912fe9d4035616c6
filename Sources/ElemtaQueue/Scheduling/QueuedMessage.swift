import ElemtaSMTP

/// What is kept in memory about a queued message: what is due when, and no more.
struct QueuedMessage {
    let octets: UInt64
    let place: ContentPlace
    var isHeld: Bool
    /// The envelope must be looked at even when everything has been delivered: somebody wants to
    /// hear of it, or a failed recipient is to be kept.
    var needsReview: Bool
    /// Seconds since 1970 at which something is owed even if nothing is tried.
    var deadline: Int64
    var groups: Groups

    /// Nearly every message has one group: no array for it.
    enum Groups {
        case one(Group)
        case several([Group])
    }

    /// Recipients of one message that go to one destination together.
    struct Group {
        let destination: UInt32
        var state: State
        var members: RecipientSelection
    }

    enum State: Hashable {
        /// In its destination's line.
        case ready
        /// The same, and the destination's door isn't open; in the heap, until the message's
        /// deadline.
        case behind(until: Int64)
        /// Handed out.
        case out
        /// Answered; the answer isn't on disk yet.
        case answered
        /// In the heap, until a time in seconds since 1970.
        case waiting(until: Int64)
        /// By an operator. Once released it waits until then, seconds since 1970.
        case held(until: Int64)
        /// Nothing left to deliver: kept to be looked at until then.
        case retained(until: Int64)

        var isWithWorker: Bool {
            switch self {
            case .out, .answered: true
            case .ready, .behind, .waiting, .held, .retained: false
            }
        }

        var isInLine: Bool {
            switch self {
            case .ready, .behind: true
            case .out, .answered, .waiting, .held, .retained: false
            }
        }
    }
}

/// A group that is to be: its destination by name.
struct GroupPlan {
    var destination: Destination
    var state: QueuedMessage.State
    var members: RecipientSelection
}

/// What of the options a plan depends on, in seconds.
struct PlanTerms {
    /// How long a message without pending recipients is kept.
    let retention: Int64
    let maximumQueueTime: Int64
    /// How long after the arrival a delay is reported; 0: never.
    let delayWarning: Int64
}

extension Envelope {
    /// When something is owed though nothing is tried, in seconds since 1970: the report of a delay,
    /// or the end of the message's time.
    func deadline(_ terms: PlanTerms) -> Int64 {
        let end = arrival.seconds + terms.maximumQueueTime
        guard terms.delayWarning > 0, recipients.contains(where: \.awaitsDelayReport) else {
            return end
        }
        return min(end, arrival.seconds + terms.delayWarning)
    }
}

extension QueuedRecipient {
    /// Somebody wants to hear that this takes long, and hasn't yet.
    var awaitsDelayReport: Bool {
        state.isPending && notify.contains(.delay) && !delayReported
    }
}

/// A message that is to be in the schedule.
struct MessagePlan {
    let id: MessageID
    let octets: UInt64
    let place: ContentPlace
    let isHeld: Bool
    let needsReview: Bool
    let deadline: Int64
    var groups: [GroupPlan]

    /// Sorts the pending recipients of an envelope by destination.
    init(
        _ envelope: Envelope, place: ContentPlace, now: UnixTime, terms: PlanTerms,
        destination: (ForwardPath) -> Destination
    ) {
        id = envelope.id
        octets = envelope.contentOctets
        self.place = place
        isHeld = envelope.isHeld
        needsReview = Self.needsReview(envelope)
        deadline = envelope.deadline(terms)
        if envelope.recipients.count == 1,
            case .pending(_, let next, _) =
                envelope.recipients[0].state
        {
            let state = Self.state(next, envelope.isHeld, now)
            groups = [
                GroupPlan(
                    destination: destination(envelope.recipients[0].path), state: state,
                    members: .allPending(1))
            ]
            return
        }
        groups = Self.groups(
            of: envelope, members: nil, now: now, destination: destination)
        if groups.isEmpty {
            let last = envelope.attempts.last?.time ?? envelope.arrival
            groups = [Self.retained(until: (last + terms.retention).seconds)]
        }
    }

    /// The stand-in group of a message that is only kept to be looked at.
    static func retained(until: Int64) -> GroupPlan {
        GroupPlan(
            destination: Destination(name: ""), state: .retained(until: until),
            members: .allPending(0))
    }

    static func needsReview(_ envelope: Envelope) -> Bool {
        envelope.recipients.contains { $0.notify.contains(.success) || $0.state.isFailed }
    }

    private static func state(
        _ next: UnixTime?, _ isHeld: Bool, _ now: UnixTime
    ) -> QueuedMessage.State {
        if isHeld { return .held(until: next?.seconds ?? now.seconds) }
        guard let next, next > now else { return .ready }
        return .waiting(until: next.seconds)
    }

    /// Groups for the pending recipients among `members` (nil: all), in order of appearance.
    static func groups(
        of envelope: Envelope, members: [UInt32]?, now: UnixTime,
        destination: (ForwardPath) -> Destination
    ) -> [GroupPlan] {
        var plans: [GroupPlan] = []
        var indices: [[UInt32]] = []
        var numbers: [Destination: Int] = [:]
        for index in members ?? Array(0..<UInt32(envelope.recipients.count)) {
            let recipient = envelope.recipients[Int(index)]
            guard case .pending(_, let next, _) = recipient.state else { continue }
            let name = destination(recipient.path)
            let state = state(next, envelope.isHeld, now)
            if let number = numbers[name] {
                indices[number].append(index)
                plans[number].state = earlier(plans[number].state, state)
            } else {
                numbers[name] = plans.count
                plans.append(
                    GroupPlan(destination: name, state: state, members: .indices([])))
                indices.append([index])
            }
        }
        // One group that is all there is needs no list of who belongs to it.
        if plans.count == 1, members == nil {
            plans[0].members = .allPending(UInt32(indices[0].count))
            return plans
        }
        for number in plans.indices { plans[number].members = .indices(indices[number]) }
        return plans
    }

    static func earlier(
        _ left: QueuedMessage.State, _ right: QueuedMessage.State
    ) -> QueuedMessage.State {
        switch (left, right) {
        case (.waiting(let first), .waiting(let second)): .waiting(until: min(first, second))
        case (.held(let first), .held(let second)): .held(until: min(first, second))
        case (.waiting, _): right
        default: left
        }
    }
}

extension QueuedMessage.Groups {
    var all: [QueuedMessage.Group] {
        switch self {
        case .one(let group): [group]
        case .several(let groups): groups
        }
    }

    func contains(where test: (QueuedMessage.Group) -> Bool) -> Bool {
        switch self {
        case .one(let group): test(group)
        case .several(let groups): groups.contains(where: test)
        }
    }
}

extension QueuedMessage.State {
    /// What it is once an operator holds the message: what a worker has goes on.
    var held: Self {
        switch self {
        case .ready, .behind: .held(until: 0)
        case .waiting(let due): .held(until: due)
        case .out, .answered, .held, .retained: self
        }
    }
}

extension RecipientSelection {
    func union(_ other: RecipientSelection) -> RecipientSelection {
        switch (self, other) {
        case (.indices(let first), .indices(let second)): .indices(first + second)
        case (.allPending, _), (_, .allPending): .allPending(UInt32(count + other.count))
        }
    }
}
