import Glibc

/// What happens when a thread is woken while the processors are busy.
public enum Scheduling: Sendable {
    /// It may take the processor from a thread that has had more than its share.
    case usual
    /// It waits its turn (`SCHED_BATCH`, sched(7)): for a thread that waits for things to gather, and is
    /// woken by the one that gathers them.
    case batch

    /// Holds for the calling thread from now on. Needs no right; where it is refused all the same (a
    /// filter of system calls), the thread goes on as it is.
    public func apply() {
        // SCHED_OTHER and SCHED_BATCH; glibc hides the latter from Swift.
        let policy: Int32 =
            switch self {
            case .usual: 0
            case .batch: 3
            }
        var parameters = sched_param()
        // Safe because `parameters` is a local of the right type; 0 is the calling thread.
        _ = unsafe sched_setscheduler(0, policy, &parameters)
    }
}
