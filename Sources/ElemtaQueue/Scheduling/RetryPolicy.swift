import ElemtaSMTP

/// When a deferred recipient is tried again, and when not any more.
public struct RetryPolicy: Hashable, Sendable {
    /// Seconds after each attempt, the last repeating; `queue.retry_schedule`.
    public var schedule: [Int64]
    /// Attempts in all; `queue.max_retries`.
    public var maximumAttempts: UInt32
    /// Seconds from arrival until a bounce; `queue.max_queue_time`.
    public var maximumQueueTime: Int64

    public init(
        schedule: [Int64] = [60, 300, 900, 3600, 10800, 21600], maximumAttempts: UInt32 = 30,
        maximumQueueTime: Int64 = 432_000
    ) {
        self.schedule = schedule
        self.maximumAttempts = maximumAttempts
        self.maximumQueueTime = maximumQueueTime
    }

    /// A destination that can't be reached is probed at least this often, in seconds.
    static let longestProbeDelay: Int64 = 300

    /// Seconds until a destination is probed that couldn't be reached `failures` times in a row.
    func probeDelay(after failures: Int, spread: Double) -> Int64 {
        min(delay(after: failures, spread: spread), Self.longestProbeDelay)
    }

    private func delay(after attempts: Int, spread: Double) -> Int64 {
        let index = min(attempts, schedule.count) - 1
        let delay = max(1, index >= 0 ? schedule[index] : 60)
        return delay + Int64(Double(delay) * 0.1 * spread)
    }

    /// When to try again after the attempt numbered `attempts` (1 is the first), or nil when that
    /// was the last. The delay is spread by 0...+10 % so that what failed together doesn't come back
    /// together; the last attempt is made when the message expires, not hours after.
    func nextAttempt(
        after attempts: UInt32, arrival: UnixTime, now: UnixTime, spread: Double
    ) -> UnixTime? {
        let expiry = arrival + maximumQueueTime
        guard attempts < maximumAttempts, now < expiry else { return nil }
        return min(now + delay(after: Int(attempts), spread: spread), expiry)
    }
}
