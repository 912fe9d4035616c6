/// How often something happened per key, within windows of one length that begin with a key's first
/// event. A bounded number of keys is remembered: beyond it those whose window began first go.
///
/// Time is an input: a duration since any fixed point of a clock that doesn't step.
public struct WindowedCounts<Key: Hashable & Sendable>: Sendable {
    private struct Window {
        let start: Duration
        var count: Int
    }

    private let length: Duration
    private let capacity: Int
    private var windows: [Key: Window] = [:]
    /// The keys of `windows`, those whose window began first at the front, from `front` on. All
    /// windows are equally long, so the one that began first also ends first.
    private var order: [Key] = []
    private var front = 0

    /// `window`: how long a key counts from its first event on. `capacity`: keys remembered.
    public init(window: Duration, capacity: Int) {
        length = window
        self.capacity = max(capacity, 1)
    }

    /// Keys that are remembered.
    var keyCount: Int { windows.count }

    /// How often since the key's window began; 0 when it is over.
    public func count(of key: Key, at now: Duration) -> Int {
        guard let window = windows[key], !isOver(window, at: now) else { return 0 }
        return window.count
    }

    /// Counts one event.
    public mutating func add(_ key: Key, at now: Duration) {
        while let first = oldest, let window = windows[first], isOver(window, at: now) {
            removeOldest()
        }
        if windows[key] != nil {
            windows[key]?.count += 1
            return
        }
        if windows.count >= capacity { removeOldest() }
        windows[key] = Window(start: now, count: 1)
        order.append(key)
    }

    /// Back to 0. The window goes on: the key keeps its one place in `order`.
    public mutating func clear(_ key: Key) {
        windows[key]?.count = 0
    }

    private func isOver(_ window: Window, at now: Duration) -> Bool {
        now - window.start >= length
    }

    private var oldest: Key? { front < order.count ? order[front] : nil }

    private mutating func removeOldest() {
        guard let oldest else { return }
        windows[oldest] = nil
        front += 1
        // Moves every key that is left once in as many removals: constant cost per removal.
        if front * 2 > order.count {
            order.removeFirst(front)
            front = 0
        }
    }
}
