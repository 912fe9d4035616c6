import ElemtaSMTP

/// What is kept in memory about a queued message: what is due when, and no more.
struct QueuedMessage {
    let octets: UInt64
    let place: ContentPlace
    var isHeld: Bool
    /// The envelope must be looked at even when everything has been delivered: somebody wants to
    /// hear of it, or a failed recipient is to be kept.
    var needsReview: Bool
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
        /// Handed out.
        case out
        /// Answered; the answer isn't on disk yet.
        case answered
        /// In the heap, until a time in seconds since 1970.
        case waiting(until: Int64)
        case held
        /// Nothing left to deliver: kept to be looked at until then.
        case retained(until: Int64)

        var isWithWorker: Bool {
            switch self {
            case .out, .answered: true
            case .ready, .waiting, .held, .retained: false
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

/// A message that is to be in the schedule.
struct MessagePlan {
    let id: MessageID
    let octets: UInt64
    let place: ContentPlace
    let isHeld: Bool
    let needsReview: Bool
    var groups: [GroupPlan]

    /// Sorts the pending recipients of an envelope by destination.
    ///
    /// - Parameter retention: seconds that a message without pending recipients is kept.
    init(
        _ envelope: Envelope, place: ContentPlace, now: UnixTime, retention: Int64,
        destination: (ForwardPath) -> Destination
    ) {
        id = envelope.id
        octets = envelope.contentOctets
        self.place = place
        isHeld = envelope.isHeld
        needsReview = Self.needsReview(envelope)
        if envelope.recipients.count == 1,
            case .pending(_, let next, _) =
                envelope.recipients[0].state
        {
            let state = Self.state(next, envelope.isHeld, now)
            groups = [
                GroupPlan(
                    destination: destination(envelope.recipients[0].path), state: state,
                    members: .allPending)
            ]
            return
        }
        groups = Self.groups(
            of: envelope, members: nil, now: now, destination: destination)
        if groups.isEmpty {
            let last = envelope.attempts.last?.time ?? envelope.arrival
            groups = [Self.retained(until: (last + retention).seconds)]
        }
    }

    /// The stand-in group of a message that is only kept to be looked at.
    static func retained(until: Int64) -> GroupPlan {
        GroupPlan(
            destination: Destination(name: ""), state: .retained(until: until),
            members: .allPending)
    }

    static func needsReview(_ envelope: Envelope) -> Bool {
        envelope.recipients.contains { $0.notify.contains(.success) || $0.state.isFailed }
    }

    private static func state(
        _ next: UnixTime?, _ isHeld: Bool, _ now: UnixTime
    ) -> QueuedMessage.State {
        if isHeld { return .held }
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
                plans.append(GroupPlan(destination: name, state: state, members: .allPending))
                indices.append([index])
            }
        }
        // One group that is all there is needs no list of who belongs to it.
        if plans.count == 1, members == nil { return plans }
        for number in plans.indices { plans[number].members = .indices(indices[number]) }
        return plans
    }

    static func earlier(
        _ left: QueuedMessage.State, _ right: QueuedMessage.State
    ) -> QueuedMessage.State {
        switch (left, right) {
        case (.waiting(let first), .waiting(let second)): .waiting(until: min(first, second))
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
    var isRetained: Bool {
        switch self {
        case .retained: true
        case .ready, .out, .answered, .waiting, .held: false
        }
    }
}

extension RecipientSelection {
    func union(_ other: RecipientSelection) -> RecipientSelection {
        switch (self, other) {
        case (.indices(let first), .indices(let second)): .indices(first + second)
        case (.allPending, _), (_, .allPending): .allPending
        }
    }
}
