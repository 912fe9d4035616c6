/// What the sessions hold in memory, against `limits.memory`: content, envelopes, partial lines and
/// unsent replies. Reactor thread only.
///
/// A session that wants more than is left is answered 452 4.3.1 and everybody else is served;
/// without the budget a few thousand clients that announce much and finish nothing end the process.
struct MemoryBudget {
    /// Octets that all sessions together may hold.
    var limit: Int
    /// Octets that they hold now.
    private(set) var used = 0

    init(limit: Int) {
        self.limit = limit
    }

    /// True when no session may begin to hold anything new.
    var isExhausted: Bool { used >= limit }

    /// True from three quarters on: content moves to files although it is small.
    var isShort: Bool { used >= limit / 4 * 3 }

    /// Replaces what one session was accounted for by what it holds now.
    mutating func account(from previous: Int, to current: Int) {
        used += current - previous
    }
}
