import Synchronization

/// How often each of a few things has happened. For one thread.
struct Tally<Key: Hashable & CaseIterable> {
    private var counts: [Key: UInt64] = [:]

    mutating func add(_ count: UInt64 = 1, to key: Key) { counts[key, default: 0] += count }

    subscript(key: Key) -> UInt64 { counts[key, default: 0] }
}

/// The same for every thread: one relaxed atomic number for each key, and no lock.
final class SharedTally<Key: Hashable & CaseIterable & Sendable>: Sendable {
    private let counts: [Key: SharedCount]

    init() {
        counts = Dictionary(uniqueKeysWithValues: Key.allCases.map { ($0, SharedCount()) })
    }

    func add(_ count: UInt64 = 1, to key: Key) { counts[key]?.add(count) }

    subscript(key: Key) -> UInt64 { counts[key]?.value ?? 0 }
}

/// A number that every thread may add to.
final class SharedCount: Sendable {
    private let number = Atomic<UInt64>(0)

    func add(_ count: UInt64 = 1) { number.add(count, ordering: .relaxed) }

    var value: UInt64 { number.load(ordering: .relaxed) }
}
