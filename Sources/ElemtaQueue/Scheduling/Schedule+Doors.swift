import DequeModule
import ElemtaSMTP
import HeapModule

// Destinations that can't be reached. What is for one stays in its line, where it costs no attempt;
// one message at a time goes out to find out, and when a server answers it all of them follow.
extension Schedule {
    struct DoorTimer: Comparable {
        let due: Int64
        let destination: UInt32

        static func < (left: DoorTimer, right: DoorTimer) -> Bool {
            (left.due, left.destination) < (right.due, right.destination)
        }
    }

    /// What an answer that a destination couldn't be reached means for the message.
    enum Unreached {
        /// It was the one that found out: an attempt.
        case attempt(until: UnixTime)
        /// It waits for the next to find out.
        case behind
    }

    /// Takes note that an item has come back without having reached its destination.
    ///
    /// - Parameter delay: seconds until the next probe, by how many have failed in a row.
    mutating func unreached(
        _ id: MessageID, _ destination: Destination, because reason: DeliveryStatus,
        _ answer: Answer, now: UnixTime, delay: (_ failures: Int) -> Int64
    ) -> Unreached {
        guard let number = destinations.number(of: destination) else { return .behind }
        switch destinations.door(number) {
        case .open, .probing(id): break
        case .closed, .ajar, .probing:
            let plan = GroupPlan(
                destination: destination, state: .ready, members: answer.members)
            settle(id, destination, with: [plan])
            return .behind
        }
        var trouble =
            destinations.troubles[number] ?? DestinationTrouble(reason: reason, failures: 0)
        trouble.reason = reason
        trouble.failures += 1
        trouble.probes.append(id)
        let until = now + delay(trouble.failures)
        close(number, .closed(until: until.seconds), trouble)
        return .attempt(until: until)
    }

    /// A probe came back without having been tried.
    mutating func probeNotMade(_ id: MessageID, _ destination: Destination, until: UnixTime) {
        guard let number = destinations.number(of: destination),
            destinations.door(number) == .probing(id)
        else { return }
        close(number, .closed(until: until.seconds), nil)
    }

    /// A server has answered: whatever waits for its destination goes.
    ///
    /// - Returns: whether the destination couldn't be reached before.
    mutating func reached(_ destination: Destination) -> Bool {
        guard let number = destinations.number(of: destination),
            !destinations.door(number).isOpen
        else { return false }
        let probes = destinations.troubles[number]?.probes ?? []
        destinations.setDoor(.open, number)
        hasOtherObstacles = true
        touch(number)
        for id in probes {
            update(id, number) { group in
                guard case .waiting = group.state else { return false }
                group.state = .ready
                return true
            }
        }
        return true
    }

    /// Brings back from before a restart that a message hasn't reached its destination: it is probed
    /// before all that waits for it is tried at once.
    mutating func recall(_ id: MessageID, _ destination: Destination, _ reason: DeliveryStatus) {
        guard let number = destinations.number(of: destination) else { return }
        var trouble =
            destinations.troubles[number] ?? DestinationTrouble(reason: reason, failures: 1)
        trouble.probes.append(id)
        close(number, .ajar, trouble)
    }

    /// An operator wants to know now.
    mutating func probeAtOnce(_ number: UInt32, with id: MessageID) {
        guard case .closed = destinations.door(number) else { return }
        destinations.prepend(id, to: number)
        destinations.setDoor(.ajar, number)
        hasOtherObstacles = true
        touch(number)
    }

    private mutating func close(
        _ number: UInt32, _ door: Door, _ trouble: DestinationTrouble?
    ) {
        let wasOpen = destinations.door(number).isOpen
        destinations.setDoor(door, number, trouble)
        hasOtherObstacles = true
        if case .closed(let until) = door {
            doorTimers.insert(DoorTimer(due: until, destination: number))
        }
        guard wasOpen else { return }
        // From now on the line's messages have to be looked after when their time is over.
        for id in destinations.line(number) {
            guard let deadline = messages[id]?.deadline else { continue }
            var isBehind = false
            update(id, number) { group in
                guard group.state == .ready else { return false }
                group.state = .behind(until: deadline)
                isBehind = true
                return false
            }
            if isBehind {
                timers.insert(Timer(due: deadline, id: id, destination: number))
            }
        }
    }

    /// Lets one message out wherever the time for it has come.
    mutating func openDoorsALittle(_ now: UnixTime) {
        while let timer = doorTimers.min, timer.due <= now.seconds {
            doorTimers.removeMin()
            guard destinations.door(timer.destination) == .closed(until: timer.due)
            else { continue }
            destinations.setDoor(.ajar, timer.destination)
            hasOtherObstacles = true
            touch(timer.destination)
        }
    }

    /// Takes a message that waits behind a door out of its line, as if it had been handed out and had
    /// come back. Nil when it has moved on.
    mutating func withdraw(
        _ id: MessageID, from number: UInt32
    ) -> (destination: Destination, reason: DeliveryStatus, answer: Answer)? {
        guard let reason = destinations.troubles[number]?.reason else { return nil }
        var isBehind = false
        update(id, number) { group in
            if case .behind = group.state { isBehind = true }
            return false
        }
        guard isBehind else { return nil }
        let destination = destinations.name(number)
        let door = destinations.door(number)
        guard handOut(id, number) != nil, let answer = answer(id, destination)
        else { return nil }
        // It isn't the probe.
        destinations.setDoor(door, number)
        return (destination, reason, answer)
    }

    /// What stands in the way of which destinations, when that isn't what it was when last asked.
    mutating func changedObstacles() -> [Destination: DestinationObstacle]? {
        guard hasOtherObstacles else { return nil }
        hasOtherObstacles = false
        var obstacles: [Destination: DestinationObstacle] = [:]
        for (number, trouble) in destinations.troubles {
            var nextProbe: UnixTime?
            if case .closed(let until) = destinations.door(number) {
                nextProbe = UnixTime(seconds: until)
            }
            obstacles[destinations.name(number)] = DestinationObstacle(
                reason: trouble.reason, nextProbe: nextProbe)
        }
        return obstacles
    }
}
