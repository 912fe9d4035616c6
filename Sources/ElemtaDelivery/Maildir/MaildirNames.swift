import Glibc
import Synchronization

/// Names that no other file in any maildir has: `seconds.MmicrosecondsPprocess_count.hostname`, as
/// the maildir convention (https://cr.yp.to/proto/maildir.html) wants them. Any thread.
final class MaildirNames: Sendable {
    private let host: String
    private let count = Atomic<UInt64>(0)

    /// Of `hostname` only the signs that mean something in a name are changed: `/` and `:` become
    /// `\057` and `\072`.
    init(hostname: String) {
        host = hostname.replacing("/", with: "\\057").replacing(":", with: "\\072")
    }

    func next() -> String {
        var now = timespec()
        // Safe because `now` is a local of the right type.
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        let number = count.add(1, ordering: .relaxed).newValue
        return "\(now.tv_sec).M\(now.tv_nsec / 1_000)P\(getpid())_\(number).\(host)"
    }
}
