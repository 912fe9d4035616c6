import Glibc
import Synchronization

/// Signals that come while no loop watches them: at the start, while the queue is left, while another
/// server is waited for. They are remembered, and nobody dies of them.
///
/// A loop's own watch puts back what was there before it, so that none falls in between.
enum PendingSignals {
    private static let hangup = Atomic<Bool>(false)
    private static let stop = Atomic<Bool>(false)

    /// From now on SIGHUP is a wish for later.
    static func keepHangups() {
        _ = hangup.load(ordering: .relaxed)
        signal(SIGHUP) { _ in PendingSignals.wantReload() }
    }

    /// What SIGHUP wants can't be done now.
    static func wantReload() { hangup.store(true, ordering: .relaxed) }

    /// Whether SIGHUP came; the wish is the caller's from now on.
    static func takeReload() -> Bool { hangup.exchange(false, ordering: .relaxed) }

    /// From now on the first SIGTERM or SIGINT is a wish for later; a second one ends the process.
    static func keepStops() {
        // Made here, and not in the signal handler.
        _ = stop.load(ordering: .relaxed)
        for number in [SIGTERM, SIGINT] {
            signal(number) { _ in
                PendingSignals.stop.store(true, ordering: .relaxed)
                PendingSignals.dieOfStops()
            }
        }
    }

    /// From now on SIGTERM and SIGINT end the process, as they do where nobody asks otherwise. Safe in
    /// a signal handler.
    static func dieOfStops() {
        signal(SIGTERM, SIG_DFL)
        signal(SIGINT, SIG_DFL)
    }

    /// Whether SIGTERM or SIGINT came.
    static var isStopWanted: Bool { stop.load(ordering: .relaxed) }
}
