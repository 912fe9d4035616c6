import DequeModule
import ElemtaSMTP
import HeapModule

/// What is due when, in memory, rebuilt from the envelopes at start. Owned by the spool thread.
///
/// A message costs an entry of the dictionary (about 80 octets, more while the dictionary has room
/// to grow) and, while it waits, 24 octets in the heap.
struct Schedule {
    private(set) var messages: [MessageID: QueuedMessage] = [:]
    /// Those that were with a worker when routes changed: to be looked at when they are back.
    var travellers: Set<MessageID> = []
    // Those below are for `Schedule+Doors` too, and for nobody else.
    var destinations = DestinationTable()
    /// Earliest first. Entries whose group has since moved on are dropped when they come up.
    var timers = Heap<Timer>()
    /// With more of them those that nothing waits for are looked for and dropped.
    private var timersAllowed = 4096
    /// When closed doors are opened a little.
    var doorTimers = Heap<DoorTimer>()
    /// Whether the obstacles are others than when they were last asked for.
    var hasOtherObstacles = false
    /// Destinations whose line or room has changed since work was last taken.
    private var touched: [UInt32] = []
    /// Items that may be out for one destination at a time.
    private let outstandingLimit: Int

    private(set) var counts = Counts()
    private(set) var census = QueueCensus()

    /// Messages by what they do now.
    struct Counts {
        var messages = 0
        var octets: UInt64 = 0
        var outstanding = 0
        var held = 0
        var failed = 0
    }

    struct Timer: Comparable, Hashable {
        let due: Int64
        let id: MessageID
        let destination: UInt32

        static func < (left: Timer, right: Timer) -> Bool {
            (left.due, left.id) < (right.due, right.id)
        }
    }

    init(outstandingLimit: Int) {
        self.outstandingLimit = outstandingLimit
    }

    func contains(_ id: MessageID) -> Bool { messages[id] != nil }

    func place(of id: MessageID) -> ContentPlace? { messages[id]?.place }

    // MARK: - Messages come and go

    /// Makes room for that many messages at once, as the dictionary would leave the smaller ones it
    /// had on the way.
    mutating func reserve(_ count: Int) {
        messages.reserveCapacity(count)
    }

    mutating func add(_ plan: MessagePlan) {
        remove(plan.id)
        let groups: QueuedMessage.Groups
        if plan.groups.count == 1 {
            groups = .one(admit(plan.groups[0], of: plan.id, plan.deadline))
        } else {
            var admitted: [QueuedMessage.Group] = []
            for group in plan.groups {
                admitted.append(admit(group, of: plan.id, plan.deadline))
            }
            groups = .several(admitted)
        }
        let message = QueuedMessage(
            octets: plan.octets, place: plan.place, isHeld: plan.isHeld,
            needsReview: plan.needsReview, deadline: plan.deadline, groups: groups)
        messages[plan.id] = message
        count(message, plan.id, 1)
        dropStaleTimers()
    }

    @discardableResult
    mutating func remove(_ id: MessageID) -> Bool {
        guard let message = messages.removeValue(forKey: id) else { return false }
        count(message, id, -1)
        switch message.groups {
        case .one(let group): dismiss(group, of: id)
        case .several(let groups):
            for group in groups { dismiss(group, of: id) }
        }
        return true
    }

    private mutating func count(_ message: QueuedMessage, _ id: MessageID, _ sign: Int) {
        if sign > 0 {
            census.add(id, in: message.queueState)
        } else {
            census.remove(id, in: message.queueState)
        }
        counts.messages += sign
        if sign > 0 { counts.octets += message.octets } else { counts.octets -= message.octets }
        if message.isHeld { counts.held += sign }
        if case .one(let group) = message.groups, case .retained = group.state {
            counts.failed += sign
        }
    }

    private mutating func admit(
        _ plan: GroupPlan, of id: MessageID, _ deadline: Int64
    ) -> QueuedMessage.Group {
        let number = destinations.retain(plan.destination)
        let state = enter(plan.state, id, number, deadline)
        return QueuedMessage.Group(destination: number, state: state, members: plan.members)
    }

    /// Sees to it that a group in this state is found when its time has come.
    ///
    /// - Returns: the state it has by that.
    private mutating func enter(
        _ state: QueuedMessage.State, _ id: MessageID, _ destination: UInt32, _ deadline: Int64
    ) -> QueuedMessage.State {
        switch state {
        case .ready, .behind:
            destinations.enqueue(id, to: destination)
            touch(destination)
            if destinations.door(destination).isOpen { return .ready }
            timers.insert(Timer(due: deadline, id: id, destination: destination))
            return .behind(until: deadline)
        case .waiting(let due), .retained(let due):
            timers.insert(Timer(due: due, id: id, destination: destination))
            return state
        case .held, .out, .answered: return state
        }
    }

    private mutating func dismiss(_ group: QueuedMessage.Group, of id: MessageID) {
        if group.state.isWithWorker { returned(id, from: group.destination) }
        if !destinations.release(group.destination) { hasOtherObstacles = true }
    }

    private mutating func returned(_ id: MessageID, from destination: UInt32) {
        destinations.answered(destination)
        counts.outstanding -= 1
        // It can't tell any more whether the destination is back.
        if destinations.door(destination) == .probing(id) {
            destinations.setDoor(.ajar, destination)
        }
        touch(destination)
    }

    mutating func touch(_ destination: UInt32) {
        if touched.last != destination { touched.append(destination) }
    }

    // MARK: - Time passes

    /// The next moment at which anything happens by itself, seconds since 1970.
    var nextDue: Int64? {
        guard let door = doorTimers.min?.due else { return timers.min?.due }
        return timers.min.map { min($0.due, door) } ?? door
    }

    /// What the passing of time has brought about.
    struct Passed {
        /// Messages whose time to be kept is over.
        var expired: [MessageID] = []
        /// Those that wait behind a door and whose deadline has come.
        var overdue: [(id: MessageID, destination: UInt32)] = []
    }

    /// Moves what is due to its destination's line.
    mutating func advance(to now: UnixTime) -> Passed {
        openDoorsALittle(now)
        var passed = Passed()
        while let timer = timers.min, timer.due <= now.seconds {
            timers.removeMin()
            update(timer.id, timer.destination) { group in
                switch group.state {
                case .waiting(until: timer.due):
                    group.state = .ready
                    return true
                case .retained(until: timer.due): passed.expired.append(timer.id)
                case .behind(until: timer.due):
                    passed.overdue.append((timer.id, timer.destination))
                default: break
                }
                return false
            }
        }
        return passed
    }

    /// Changes a group in place and puts it in line when `change` says so.
    mutating func update(
        _ id: MessageID, _ destination: UInt32,
        _ change: (inout QueuedMessage.Group) -> Bool
    ) {
        var becameReady = false
        modify(id, destination) { group in
            let wasInLine = group.state.isInLine
            becameReady = change(&group) && !wasInLine
        }
        guard becameReady, let deadline = messages[id]?.deadline else { return }
        let state = enter(.ready, id, destination, deadline)
        guard state != .ready else { return }
        modify(id, destination) { $0.state = state }
    }

    private mutating func modify(
        _ id: MessageID, _ destination: UInt32, _ change: (inout QueuedMessage.Group) -> Void
    ) {
        modify(id) { groups in
            switch groups {
            case .one(var group):
                guard group.destination == destination else { return }
                change(&group)
                groups = .one(group)
            case .several(var list):
                // Taken out, so that the list is changed in place.
                groups = .several([])
                defer { groups = .several(list) }
                guard let index = list.firstIndex(where: { $0.destination == destination })
                else { return }
                change(&list[index])
            }
        }
    }

    private mutating func modify(_ id: MessageID, _ body: (inout QueuedMessage.Groups) -> Void) {
        guard let index = messages.index(forKey: id) else { return }
        let before = messages.values[index].queueState
        body(&messages.values[index].groups)
        let after = messages.values[index].queueState
        guard before != after else { return }
        census.remove(id, in: before)
        census.add(id, in: after)
    }

    /// Keeps the heap from filling with timers of messages that went or moved on earlier, and with
    /// those of messages that were put off to the same moment again and again.
    mutating func dropStaleTimers() {
        guard timers.count > timersAllowed else { return }
        var kept: Set<Timer> = []
        for timer in timers.unordered where isAwaited(timer) { kept.insert(timer) }
        timers = Heap(kept)
        // Twice what is needed, so that looking at all of them is paid by as many insertions.
        timersAllowed = 2 * kept.count + 4096
    }

    private func isAwaited(_ timer: Timer) -> Bool {
        guard let message = messages[timer.id] else { return false }
        return message.groups.contains { group in
            group.destination == timer.destination
                && (group.state == .waiting(until: timer.due)
                    || group.state == .behind(until: timer.due)
                    || group.state == .retained(until: timer.due))
        }
    }

    // MARK: - Work goes out and comes back

    /// Takes what may be handed out now, and counts it as out.
    mutating func takeWork() -> [WorkItem] {
        var work: [WorkItem] = []
        for destination in touched {
            while let id = destinations.dequeue(from: destination, limit: outstandingLimit) {
                guard let item = handOut(id, destination) else { continue }
                work.append(item)
            }
        }
        touched.removeAll(keepingCapacity: true)
        return work
    }

    /// Marks a ready group as out. Nil for an id whose message or group has moved on.
    mutating func handOut(_ id: MessageID, _ destination: UInt32) -> WorkItem? {
        var members: RecipientSelection?
        update(id, destination) { group in
            guard group.state.isInLine else { return false }
            group.state = .out
            members = group.members
            return false
        }
        guard let members, let octets = messages[id]?.octets else { return nil }
        if destinations.door(destination) == .ajar { hasOtherObstacles = true }
        destinations.handedOut(id, to: destination)
        counts.outstanding += 1
        return WorkItem(
            id: id, destination: destinations.name(destination), octets: octets,
            recipients: members)
    }

    /// An answer as the schedule understands it.
    struct Answer {
        let place: ContentPlace
        let members: RecipientSelection
        /// There is no other group of the message.
        let isOnlyGroup: Bool
        /// The whole message is done when everything in the answer was delivered.
        var isWholeMessage: Bool { isOnlyGroup && !needsReview }
        let needsReview: Bool
    }

    /// Takes the answer to an item that is out. Nil when it isn't: an unknown id, a message that
    /// was deleted meanwhile, a second answer.
    mutating func answer(_ id: MessageID, _ destination: Destination) -> Answer? {
        guard let number = destinations.number(of: destination) else { return nil }
        var members: RecipientSelection?
        update(id, number) { group in
            guard group.state == .out else { return false }
            group.state = .answered
            members = group.members
            return false
        }
        guard let members, let message = messages[id] else { return nil }
        let isOnly =
            switch message.groups {
            case .one: true
            case .several(let groups): groups.count == 1
            }
        return Answer(
            place: message.place, members: members, isOnlyGroup: isOnly,
            needsReview: message.needsReview)
    }

    /// Replaces an answered group by what is left of it.
    ///
    /// - Parameter review: whether the envelope must be looked at when everything is delivered, and
    ///   the deadline; nil: both stay as they are.
    mutating func settle(
        _ id: MessageID, _ destination: Destination, with plans: [GroupPlan],
        review: (isNeeded: Bool, deadline: Int64)? = nil
    ) {
        guard var message = messages[id], let number = destinations.number(of: destination)
        else { return }
        var groups = message.groups.all
        guard let index = groups.firstIndex(where: { $0.destination == number }) else { return }
        let settled = groups.remove(at: index)
        count(message, id, -1)
        if let review { (message.needsReview, message.deadline) = review }
        for var plan in plans {
            if message.isHeld { plan.state = plan.state.held }
            join(plan, settled, &groups, id, message.deadline)
        }
        dismiss(settled, of: id)
        message.groups = groups.count == 1 ? .one(groups[0]) : .several(groups)
        messages[id] = message
        count(message, id, 1)
        dropStaleTimers()
    }

    /// Adds a group to those of its message. Two groups of a message never have the same
    /// destination, since that is what an answer names.
    private mutating func join(
        _ plan: GroupPlan, _ settled: QueuedMessage.Group, _ groups: inout [QueuedMessage.Group],
        _ id: MessageID, _ deadline: Int64
    ) {
        let name = destinations.number(of: plan.destination)
        guard let other = groups.firstIndex(where: { $0.destination == name }) else {
            groups.append(admit(plan, of: id, deadline))
            return
        }
        if groups[other].state.isWithWorker {
            // On the way already without these: they wait under the name they had.
            var plan = plan
            plan.destination = destinations.name(settled.destination)
            groups.append(admit(plan, of: id, deadline))
            return
        }
        groups[other].members = groups[other].members.union(plan.members)
        let state = MessagePlan.earlier(groups[other].state, plan.state)
        guard state != groups[other].state else { return }
        groups[other].state = enter(state, id, groups[other].destination, deadline)
    }

    // MARK: - An operator steps in

    /// Makes everything of the message that waits ready, and has destinations that can't be reached
    /// probed with it.
    mutating func expedite(_ id: MessageID) {
        for group in messages[id]?.groups.all ?? [] {
            guard case .waiting = group.state else { continue }
            update(id, group.destination) { group in
                group.state = .ready
                return true
            }
        }
        for group in messages[id]?.groups.all ?? [] where group.state.isInLine {
            probeAtOnce(group.destination, with: id)
        }
    }

    /// Keeps everything of the message that isn't with a worker from being handed out.
    mutating func hold(_ id: MessageID) {
        mark(id, isHeld: true)
        for group in messages[id]?.groups.all ?? [] {
            update(id, group.destination) { group in
                group.state = group.state.held
                return false
            }
        }
    }

    /// Puts what is held back to where it was: a deferral goes on to last as long as it would have.
    mutating func release(_ id: MessageID, now: UnixTime) {
        mark(id, isHeld: false)
        for group in messages[id]?.groups.all ?? [] {
            guard case .held(let due) = group.state else { continue }
            let isDue = due <= now.seconds
            update(id, group.destination) { group in
                group.state = isDue ? .ready : .waiting(until: due)
                return isDue
            }
            guard !isDue else { continue }
            timers.insert(Timer(due: due, id: id, destination: group.destination))
        }
        dropStaleTimers()
    }

    private mutating func mark(_ id: MessageID, isHeld: Bool) {
        guard var message = messages[id], message.isHeld != isHeld else { return }
        count(message, id, -1)
        message.isHeld = isHeld
        messages[id] = message
        count(message, id, 1)
    }
}
