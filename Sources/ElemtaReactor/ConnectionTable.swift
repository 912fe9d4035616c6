/// Names a connection for other threads: the slot it has in its table and how often that slot had
/// been used before. Once the connection is gone its name finds nothing, though the slot is reused.
public struct ConnectionID: Hashable, Sendable {
    public let slot: UInt32
    public let generation: UInt32

    public init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// The live connections of one loop by ``ConnectionID``, each with a deadline of its own.
///
/// Deadlines lie side by side in one array that is looked through once a second (10,000 of them
/// are 80 KB, read in a few microseconds): no timer per connection, and setting one is a store. A
/// connection's deadline is its owner's to move: libevent's read timeout starts anew at every octet,
/// so that a client who trickles never meets it.
///
/// Belongs to the loop's thread.
public final class ConnectionTable<Element: AnyObject> {
    private var elements: [Element?] = []
    private var generations: [UInt32] = []
    /// Nanoseconds of ``MonotonicTime``; `noDeadline` in free slots and where none is set.
    private var deadlines: [UInt64] = []
    private var freeSlots: [UInt32] = []

    private static var noDeadline: UInt64 { .max }

    public init() {}

    /// How many elements are in the table.
    public var count: Int { elements.count - freeSlots.count }

    /// Puts `element` into a slot, without a deadline.
    public func insert(_ element: Element) -> ConnectionID {
        guard let slot = freeSlots.popLast() else {
            elements.append(element)
            generations.append(0)
            deadlines.append(Self.noDeadline)
            return ConnectionID(slot: UInt32(elements.count - 1), generation: 0)
        }
        elements[Int(slot)] = element
        return ConnectionID(slot: slot, generation: generations[Int(slot)])
    }

    /// The element that `id` was given to; nil once it was removed.
    public subscript(id: ConnectionID) -> Element? {
        index(of: id).flatMap { elements[$0] }
    }

    /// Takes the element out; `id` and its deadline are void from now on.
    @discardableResult
    public func remove(_ id: ConnectionID) -> Element? {
        guard let index = index(of: id) else { return nil }
        let element = elements[index]
        elements[index] = nil
        deadlines[index] = Self.noDeadline
        generations[index] &+= 1
        freeSlots.append(id.slot)
        return element
    }

    /// Replaces the deadline of `id`; nil: it has none. A stale id is ignored.
    public func setDeadline(_ deadline: MonotonicTime?, for id: ConnectionID) {
        guard let index = index(of: id) else { return }
        deadlines[index] = deadline?.nanoseconds ?? Self.noDeadline
    }

    /// Hands every element whose deadline has come to `body`, once: its deadline is gone by then.
    /// `body` may insert, remove and set deadlines.
    public func expire(at now: MonotonicTime, _ body: (ConnectionID, Element) -> Void) {
        // Found first, told then: `body` may change the arrays.
        var due: [ConnectionID] = []
        for slot in deadlines.indices where deadlines[slot] <= now.nanoseconds {
            due.append(ConnectionID(slot: UInt32(slot), generation: generations[slot]))
        }
        for id in due {
            // Removed, or given more time, by a body before this one.
            guard let index = index(of: id), deadlines[index] <= now.nanoseconds,
                let element = elements[index]
            else { continue }
            deadlines[index] = Self.noDeadline
            body(id, element)
        }
    }

    /// Looks through the deadlines once a second, for as long as the returned timer lives.
    public func sweepEverySecond(
        on loop: EventLoop, _ expired: @escaping (ConnectionID, Element) -> Void
    ) -> LoopTimer {
        loop.every(.seconds(1)) { [unowned self] in expire(at: .now, expired) }
    }

    /// Hands every element to `body`, which may insert and remove; what it inserts isn't visited.
    public func forEach(_ body: (ConnectionID, Element) -> Void) {
        for slot in elements.indices {
            guard let element = elements[slot] else { continue }
            body(ConnectionID(slot: UInt32(slot), generation: generations[slot]), element)
        }
    }

    private func index(of id: ConnectionID) -> Int? {
        let index = Int(id.slot)
        guard index < generations.count, generations[index] == id.generation,
            elements[index] != nil
        else { return nil }
        return index
    }
}
