import DequeModule

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

    private struct Entry {
        var destination: Destination
        /// Groups that have this number.
        var uses = 0
        /// Items handed out and not answered.
        var outstanding = 0
        /// Ready messages, oldest first; some may have gone since.
        var ready: Deque<MessageID> = []
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
    mutating func release(_ number: UInt32) {
        let index = Int(number)
        entries[index].uses -= 1
        // The last to leave takes the name away. A line of ready ids is stale by now; an entry that
        // something is out for stays until the answer has come.
        guard entries[index].uses == 0, entries[index].outstanding == 0 else { return }
        numbers[entries[index].destination] = nil
        entries[index] = Entry(destination: Destination(name: ""))
        free.append(number)
        if latest == number { latest = nil }
    }

    mutating func enqueue(_ id: MessageID, to number: UInt32) {
        entries[Int(number)].ready.append(id)
    }

    /// The oldest ready message, as long as fewer than `limit` are out.
    mutating func dequeue(from number: UInt32, limit: Int) -> MessageID? {
        guard entries[Int(number)].outstanding < limit else { return nil }
        return entries[Int(number)].ready.popFirst()
    }

    mutating func handedOut(_ number: UInt32) { entries[Int(number)].outstanding += 1 }

    mutating func answered(_ number: UInt32) { entries[Int(number)].outstanding -= 1 }
}
