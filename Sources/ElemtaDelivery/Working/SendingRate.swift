import DequeModule
import ElemtaReactor

/// At most so many messages in any stretch of time of a certain length.
struct SendingRate {
    let limit: RateLimit
    /// When the latest messages began, at most `limit.count` of them.
    private var beginnings: Deque<MonotonicTime> = []

    init(_ limit: RateLimit) { self.limit = limit }

    /// When the next message may begin; nil: now.
    func nextBeginning(at now: MonotonicTime) -> MonotonicTime? {
        guard beginnings.count >= limit.count, let first = beginnings.first else { return nil }
        let next = first + limit.period
        return next <= now ? nil : next
    }

    /// From when on nothing of what was sent counts any more; nil: nothing was.
    var end: MonotonicTime? { beginnings.last.map { $0 + limit.period } }

    /// A message begins.
    mutating func begin(at now: MonotonicTime) {
        if beginnings.count >= limit.count { beginnings.removeFirst() }
        beginnings.append(now)
    }
}
