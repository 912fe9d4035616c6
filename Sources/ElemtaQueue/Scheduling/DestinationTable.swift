import DequeModule

/// Whether mail for a destination is handed out.
enum Door: Hashable {
    case open
    /// It couldn't be reached: nothing goes out until then, in seconds since 1970.
    case closed(until: Int64)
    /// The next message that goes out is to find out.
    case ajar
    /// This message is out to find out.
    case probing(MessageID)

    var isOpen: Bool {
        switch self {
        case .open: true
        case .closed, .ajar, .probing: false
        }
    }
}

/// What is known about a destination whose door isn't open.
struct DestinationTrouble {
    var reason: DeliveryStatus
    /// Probes that failed, one after the other.
    var failures: Int
    /// Messages that were sent to find out and wait by their own schedule since: they go when the
    /// destination is back.
    var probes: [MessageID] = []
}

/// The destinations that queued messages go to, each with a number while any message needs it.
///
/// A message holds the number (4 octets) instead of the name. Each destination has its own line of
/// ready messages and a limit on what is handed out, so that one that stands still holds up
/// nobody else and costs no more memory than the queue itself.
struct DestinationTable {
    private var entries: [Entry] = []
    private var numbers: [Destination: UInt32] = [:]
    private var free: [UInt32] = []
    /// The last one looked up: mail comes in runs.
    private var latest: UInt32?
    /// Of those whose door isn't open.
    private(set) var troubles: [UInt32: DestinationTrouble] = [:]

    private struct Entry {
        var destination: Destination
        /// Groups that have this number.
        var uses = 0
        /// Items handed out and not answered.
        var outstanding = 0
        var door = Door.open
        /// Ready messages, oldest first; some may have gone since.
        var ready: Deque<MessageID> = []
        /// With more of them duplicates are looked for.
        var allowed = 4096
    }

    func name(_ number: UInt32) -> Destination { entries[Int(number)].destination }

    /// The number of a destination that is in use.
    mutating func number(of destination: Destination) -> UInt32? {
        if let latest, entries[Int(latest)].destination == destination { return latest }
        guard let number = numbers[destination] else { return nil }
        latest = number
        return number
    }

    /// The number of a destination, which is in use by one group more from now on.
    mutating func retain(_ destination: Destination) -> UInt32 {
        if let number = number(of: destination) {
            entries[Int(number)].uses += 1
            return number
        }
        let number: UInt32
        if let reused = free.popLast() {
            number = reused
            entries[Int(number)] = Entry(destination: destination, uses: 1)
        } else {
            number = UInt32(entries.count)
            entries.append(Entry(destination: destination, uses: 1))
        }
        numbers[destination] = number
        latest = number
        return number
    }

    /// One group less uses the destination.
    ///
    /// - Returns: false when it is forgotten by that.
    @discardableResult
    mutating func release(_ number: UInt32) -> Bool {
        let index = Int(number)
        entries[index].uses -= 1
        // The last to leave takes the name away. A line of ready ids is stale by now; an entry that
        // something is out for stays until the answer has come.
        guard entries[index].uses == 0, entries[index].outstanding == 0 else { return true }
        numbers[entries[index].destination] = nil
        entries[index] = Entry(destination: Destination(name: ""))
        troubles[number] = nil
        free.append(number)
        if latest == number { latest = nil }
        return false
    }

    // MARK: - Lines

    mutating func enqueue(_ id: MessageID, to number: UInt32) {
        entries[Int(number)].ready.append(id)
        dropDuplicates(number)
    }

    /// Whoever was held and released while nothing went out is in line again each time.
    private mutating func dropDuplicates(_ number: UInt32) {
        let index = Int(number)
        guard entries[index].ready.count > entries[index].allowed else { return }
        var seen: Set<MessageID> = []
        entries[index].ready.removeAll { !seen.insert($0).inserted }
        // Twice what is left, so that looking at all of it is paid by as many that join.
        entries[index].allowed = 2 * entries[index].ready.count + 4096
    }

    /// Puts a message before all others.
    mutating func prepend(_ id: MessageID, to number: UInt32) {
        entries[Int(number)].ready.prepend(id)
    }

    /// Those in line, oldest first; some may have gone since.
    func line(_ number: UInt32) -> Deque<MessageID> { entries[Int(number)].ready }

    /// The oldest ready message, as long as fewer than `limit` are out and the door lets it.
    mutating func dequeue(from number: UInt32, limit: Int) -> MessageID? {
        switch entries[Int(number)].door {
        case .open:
            guard entries[Int(number)].outstanding < limit else { return nil }
        case .ajar: break
        case .closed, .probing: return nil
        }
        return entries[Int(number)].ready.popFirst()
    }

    mutating func handedOut(_ id: MessageID, to number: UInt32) {
        entries[Int(number)].outstanding += 1
        if case .ajar = entries[Int(number)].door { entries[Int(number)].door = .probing(id) }
    }

    mutating func answered(_ number: UInt32) { entries[Int(number)].outstanding -= 1 }

    // MARK: - Doors

    func door(_ number: UInt32) -> Door { entries[Int(number)].door }

    /// - Parameter trouble: goes when the door opens.
    mutating func setDoor(_ door: Door, _ number: UInt32, _ trouble: DestinationTrouble? = nil) {
        entries[Int(number)].door = door
        if door.isOpen {
            troubles[number] = nil
        } else if let trouble {
            troubles[number] = trouble
        }
    }
}
