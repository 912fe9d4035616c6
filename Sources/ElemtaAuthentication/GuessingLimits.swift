public import ElemtaSMTP

/// Who guessed how often: what an address may still try, and how long an answer waits.
///
/// Time is an input: a duration since any fixed point of a clock that doesn't step. A value of this
/// type belongs to one thread. It remembers a bounded number of addresses and accounts and, when an
/// attacker has more of them, forgets the ones that began to fail first.
public struct GuessingLimits: Sendable {
    /// The longest that an answer is held back.
    public static let maximumDelay = Duration.seconds(5)

    private let maximumFailures: Int
    private var addresses: FailureTable<IPAddress>
    /// By hash, since the names come from the attacker: two names that share one share a delay.
    private var accounts: FailureTable<Int>

    /// `maximumFailures` is `auth.max_failures`, `failureWindow` `auth.failure_window`. `capacity`:
    /// addresses and, apart from them, accounts that are remembered; some 100 octets each.
    public init(maximumFailures: Int, failureWindow: Duration, capacity: Int = 65_536) {
        self.maximumFailures = maximumFailures
        addresses = FailureTable(window: failureWindow, capacity: capacity)
        accounts = FailureTable(window: failureWindow, capacity: capacity)
    }

    /// Whether `address` may have another password verified; else AUTH answers 454 4.7.0. The
    /// caller doesn't ask for addresses that are exempt.
    ///
    /// A window begins with an address's first failure and ends `failureWindow` later, with all
    /// that was counted in it.
    public func admits(_ address: IPAddress, at now: Duration) -> Bool {
        addresses.count(of: Self.site(of: address), at: now) < maximumFailures
    }

    /// A password was wrong. `address` nil: it is exempt.
    public mutating func recordFailure(from address: IPAddress?, user: String, at now: Duration) {
        if let address { addresses.add(Self.site(of: address), at: now) }
        accounts.add(user.hashValue, at: now)
    }

    /// A password was right: its account's answers aren't held back any longer.
    public mutating func recordSuccess(user: String) {
        accounts.clear(user.hashValue)
    }

    /// How long after the credentials came the answer about `user` is sent, right or wrong: if the
    /// right password alone were answered at once, a guesser would hang up on every other answer.
    /// Ask after recording what became of the credentials. It never is a reason to refuse.
    public func answerDelay(user: String, at now: Duration) -> Duration {
        Self.delay(afterFailures: accounts.count(of: user.hashValue, at: now))
    }

    /// 1 s after the first failure, a second more after each further one, at most 5 s.
    public static func delay(afterFailures count: Int) -> Duration {
        min(.seconds(max(count, 0)), maximumDelay)
    }

    /// An IPv6 /64 is one customer, who has every address in it.
    private static func site(of address: IPAddress) -> IPAddress {
        let address = address.unmapped
        switch address.storage {
        case .v4: return address
        case .v6(let high, _): return IPAddress(v6High: high, v6Low: 0)
        }
    }
}

/// Counts failures per key within windows of one length.
struct FailureTable<Key: Hashable & Sendable>: Sendable {
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

    init(window: Duration, capacity: Int) {
        length = window
        self.capacity = max(capacity, 1)
    }

    /// Keys that are remembered.
    var keyCount: Int { windows.count }

    func count(of key: Key, at now: Duration) -> Int {
        guard let window = windows[key], !isOver(window, at: now) else { return 0 }
        return window.count
    }

    mutating func add(_ key: Key, at now: Duration) {
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

    /// Its window goes on: the key keeps its one place in `order`.
    mutating func clear(_ key: Key) {
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
