import Glibc

/// An instant of the monotonic clock: nanoseconds since some fixed point near boot. Steps of the
/// wall clock don't reach it.
public struct MonotonicTime: Hashable, Comparable, Sendable {
    public let nanoseconds: UInt64

    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// `CLOCK_MONOTONIC`, read without entering the kernel: about 20 ns.
    public static var now: MonotonicTime {
        var time = timespec()
        // Safe because `time` is a local of the right type.
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicTime(
            nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    /// The time since the clock's fixed point, for whoever takes time as an input.
    public var elapsed: Duration { .nanoseconds(nanoseconds) }

    public static func < (left: MonotonicTime, right: MonotonicTime) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// The instant `duration` later (earlier, when it is negative); stops at both ends of the clock.
    public static func + (time: MonotonicTime, duration: Duration) -> MonotonicTime {
        let (seconds, attoseconds) = duration.components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (shift, overflowOfSum) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
        guard !overflow, !overflowOfSum else {
            return MonotonicTime(nanoseconds: seconds < 0 ? 0 : .max)
        }
        let magnitude = shift.magnitude
        let (sum, clipped) =
            shift < 0
            ? time.nanoseconds.subtractingReportingOverflow(magnitude)
            : time.nanoseconds.addingReportingOverflow(magnitude)
        return MonotonicTime(nanoseconds: clipped ? (shift < 0 ? 0 : .max) : sum)
    }

    /// How long after `earlier` this is; negative when it is before it.
    public static func - (later: MonotonicTime, earlier: MonotonicTime) -> Duration {
        later < earlier
            ? .nanoseconds(-Int64(clamping: earlier.nanoseconds - later.nanoseconds))
            : .nanoseconds(Int64(clamping: later.nanoseconds - earlier.nanoseconds))
    }
}

extension timeval {
    /// `duration` as libevent takes it: rounded up to a microsecond, so that nothing fires early;
    /// never negative.
    init(_ duration: Duration) {
        let (seconds, attoseconds) = max(duration, .zero).components
        let microseconds = (attoseconds + 999_999_999_999) / 1_000_000_000_000
        self.init(
            tv_sec: Int(seconds + microseconds / 1_000_000),
            tv_usec: Int(microseconds % 1_000_000))
    }
}
