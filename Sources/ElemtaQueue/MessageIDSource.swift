import ElemtaThreads
import Glibc

/// Hands out message ids, each greater than all before it.
///
/// The upper 44 bits are the time in ticks of 2^20 nanoseconds (about a millisecond) since 1970,
/// good until 2554; the lower 20 are random, so that nobody can tell the next id from the last. Within
/// a tick, or when the clock steps back, the next id is the last plus a random step, which keeps
/// order and uniqueness at the price of guessability (12 bits) for that while.
public final class MessageIDSource: Sendable {
    private let state: Locked<State>
    private let clock: @Sendable () -> UInt64

    /// Starts above `floor`, the greatest id the spool has ever given.
    ///
    /// - Parameter clock: nanoseconds since 1970.
    public init(
        above floor: MessageID = MessageID(rawValue: 0),
        clock: @escaping @Sendable () -> UInt64 = MessageIDSource.systemNanoseconds
    ) {
        state = Locked(State(last: floor.rawValue))
        self.clock = clock
    }

    private struct State {
        /// The greatest id given so far.
        var last: UInt64
        /// Drawn and not used. One call gets many: the kernel was asked for each message's before.
        private var random: [UInt64] = []

        init(last: UInt64) { self.last = last }

        mutating func draw() -> UInt64 {
            if random.isEmpty {
                // getentropy(3) gives 256 octets at most.
                random = unsafe [UInt64](unsafeUninitializedCapacity: 32) { words, count in
                    // Safe because the array has room for what is asked for.
                    count = unsafe getentropy(words.baseAddress, 256) == 0 ? 32 : 0
                }
            }
            return random.popLast() ?? UInt64.random(in: 0...UInt64.max)
        }
    }

    /// The next id; any thread.
    public func next() -> MessageID {
        let tick = clock() & ~0xF_FFFF
        return state.withLock { state in
            let random = state.draw()
            // Only the lower half of a tick is drawn from, so that steps have room to go up.
            let fresh = tick | (random & 0x7_FFFF)
            state.last = fresh > state.last ? fresh : state.last + 1 + (random >> 20 & 0xFFF)
            return MessageID(rawValue: state.last)
        }
    }

    /// Makes all further ids greater than `floor`.
    func raise(above floor: MessageID) {
        state.withLock { $0.last = max($0.last, floor.rawValue) }
    }

    /// The greatest id given so far.
    var latest: MessageID { state.withLock { MessageID(rawValue: $0.last) } }

    /// The system's wall clock in nanoseconds since 1970.
    public static func systemNanoseconds() -> UInt64 {
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}
