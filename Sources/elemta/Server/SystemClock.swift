import ElemtaSMTP
import Glibc

/// The wall clock, for trace fields and envelopes. Deadlines use the reactor's monotonic time.
enum SystemClock {
    static var now: UnixTime {
        UnixTime(seconds: Int64(time(nil)))
    }
}
