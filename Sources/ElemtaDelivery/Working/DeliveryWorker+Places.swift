import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// Takes back the places of connections whose servers hang, when others wait for one: more
/// destinations may hang than there are places, each for minutes.
///
/// Who is asked for the first time keeps its place for a first look, which is long enough for most
/// servers to greet. Who is silent so long waits again, without an attempt being used up, behind
/// those who had no look yet, for a longer one; who is silent then as well counts as unreachable. A
/// quarter of the places is for second looks, so that a stream of new destinations doesn't put them
/// off for ever, and no more when others wait, so that they put off nobody either.
extension DeliveryWorker {
    /// Places are looked through no more often than this.
    static let placePause = Duration.milliseconds(25)

    private var secondLookShare: Int { max(1, maximumConnections / 4) }
    private var isSecondDue: Bool { secondLooks < secondLookShare }

    func serveThoseWaiting() {
        // Each connection that fails at once would lead here again, one inside the other.
        if isServingLine { return }
        isServingLine = true
        defer { isServingLine = false }
        while hasRoom, let next = line.next(secondIsDue: isSecondDue) {
            guard let queue = queues[next] else { continue }
            queue.isWaitingForRoom = false
            serve(queue)
        }
        while hasRoom, let (_, race) = waitingRaces.popFirst() { race.beginNext() }
    }

    /// A place may be free, or may be taken back, from `due` on.
    func expectPlaces(at due: MonotonicTime) {
        if let next = placeTimer?.due, next <= due { return }
        let delay = max(.zero, due - now)
        placeTimer = (due, loop.after(delay) { [unowned self] in lookForPlaces() })
    }

    /// A place may be free that no connection was removed from.
    func roomAppeared() {
        if !line.isEmpty || !waitingRaces.isEmpty { expectPlaces(at: now) }
    }

    private func lookForPlaces() {
        placeTimer = nil
        guard !isStopping else { return }
        serveThoseWaiting()
        guard shortage == nil, !hasRoom, !line.isEmpty else { return }
        guard now - latestPlaceSearch >= Self.placePause else {
            return expectPlaces(at: latestPlaceSearch + Self.placePause)
        }
        latestPlaceSearch = now
        var candidates = candidates()
        while !hasRoom, let turn = line.turn(secondIsDue: isSecondDue),
            let connection = candidates.next(
                for: turn, secondLooks: secondLooks, share: secondLookShare)
        {
            // What was done for those before may have changed it.
            if patience(with: connection) != nil { takeBack(connection) }
        }
        guard !hasRoom, !line.isEmpty, let next = nextDue() else { return }
        expectPlaces(at: max(next, now + Self.placePause))
    }

    /// Connections to give up.
    private struct Candidates {
        /// The longest silent last.
        var overdue: [ClientConnection] = []
        var looked: [ClientConnection] = []
        /// The latest last: it has lost least.
        var second: [ClientConnection] = []

        mutating func next(
            for turn: RoomLine.Turn, secondLooks: Int, share: Int
        ) -> ClientConnection? {
            if let connection = overdue.popLast() { return connection }
            switch turn {
            case .first:
                return looked.popLast() ?? (secondLooks > share ? second.popLast() : nil)
            case .second:
                return secondLooks < share ? looked.popLast() : nil
            }
        }
    }

    private func candidates() -> Candidates {
        let timeouts = settings.timeouts
        var found = Candidates()
        forEachSilent { connection, patience in
            let silence = now - connection.latestSign
            if silence >= patience {
                found.overdue.append(connection)
            } else if !connection.isOpening {
                return
            } else if connection.isSecondLook {
                found.second.append(connection)
            } else if silence >= timeouts.firstLook {
                found.looked.append(connection)
            }
        }
        found.overdue.sort { $0.latestSign > $1.latestSign }
        found.looked.sort { $0.latestSign > $1.latestSign }
        found.second.sort { $0.latestSign < $1.latestSign }
        return found
    }

    /// When the next look is over.
    private func nextDue() -> MonotonicTime? {
        let timeouts = settings.timeouts
        var next: MonotonicTime?
        forEachSilent { connection, patience in
            let first = connection.latestSign + timeouts.firstLook
            let isLooked = !connection.isOpening || connection.isSecondLook || first <= now
            let due = isLooked ? connection.latestSign + patience : first
            next = min(next ?? due, due)
        }
        return next
    }

    private func forEachSilent(_ body: (ClientConnection, _ patience: Duration) -> Void) {
        table.forEach { _, connection in
            if let patience = patience(with: connection) { body(connection, patience) }
        }
    }

    /// How long a server may be silent while others wait; nil: as long as RFC 5321 has it.
    private func patience(with connection: ClientConnection) -> Duration? {
        if connection.isOpening {
            return connection.queue.standing.isProven(at: now)
                ? nil : settings.timeouts.secondLook
        }
        return connection.isBeforeContent ? settings.timeouts.stall : nil
    }

    private func takeBack(_ connection: ClientConnection) {
        let queue = connection.queue
        guard connection.isOpening else { return connection.timeOut() }
        let silence = now - connection.latestSign
        let reason = FailureReason(silentFor: silence, connection.target)
        // The others are tried first, also when hosts come before them.
        for target in connection.targetsUnderWay { queue.avoid(target.address, at: now) }
        connection.leavePlace()
        if silence >= settings.timeouts.secondLook { return couldNotOpen(connection, reason) }
        endOpening(connection)
        if !queue.standing.isSilent { queue.standing = .silent }
        remove(connection)
        if !queue.items.isEmpty { waitForRoom(queue) }
        afterRemoval(of: connection)
    }

    // MARK: Proof

    /// A connection has become ready for mail, or has failed.
    func endOpening(_ connection: ClientConnection) {
        connection.queue.openingCount -= 1
        if connection.isSecondLook { secondLooks -= 1 }
    }

    /// A server has answered: there may be more connections to it than one.
    func answered(_ connection: ClientConnection) {
        let queue = connection.queue
        guard queue.window.open() else { return }
        queue.trial = nil
        serve(queue)
    }

    /// One server that hangs doesn't keep the others from being tried, as long as there is room.
    func tryAnotherLater(_ queue: DestinationQueue) {
        guard !queue.window.isOpen, queue.trial == nil, queue.items.count > queue.openingCount
        else { return }
        queue.trial = loop.after(settings.timeouts.trial) { [unowned self, unowned queue] in
            queue.trial = nil
            guard hasRoom, line.isEmpty, queue.window.tryAnother() else { return }
            serve(queue)
        }
    }
}
