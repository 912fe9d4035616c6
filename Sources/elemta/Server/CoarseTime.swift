import ElemtaReactor

/// An instant of the monotonic clock in half of the room, for what there is one of in each session: units of 2^20
/// nanoseconds, about a millisecond, which begin anew after 52 days.
struct CoarseTime {
    private let ticks: UInt32

    init(_ time: MonotonicTime) {
        ticks = UInt32(truncatingIfNeeded: time.nanoseconds >> 20)
    }

    static var now: CoarseTime { CoarseTime(.now) }

    /// Whether at least so much time has passed since `earlier`, which was at most 52 days ago.
    func isLater(than earlier: CoarseTime, by duration: Duration) -> Bool {
        Duration.nanoseconds(Int64(ticks &- earlier.ticks) << 20) >= duration
    }
}
