import ElemtaThreads
import Synchronization

/// What a client has taken of its answer, and whether it is still there. Any thread.
final class AnswerCredit: Sendable {
    private let taken = Inbox<Int>()
    private let gone = Atomic(false)

    /// Nobody reads the answer any more.
    var isGone: Bool { gone.load(ordering: .relaxed) }

    /// The client has taken so many octets more.
    func give(_ count: Int) { taken.post(count) }

    func end() {
        gone.store(true, ordering: .relaxed)
        taken.close()
    }

    /// Blocks, for as long as the client pleases, until it has taken something; nil once it is gone.
    func wait() -> Int? {
        guard !isGone, case .elements(let counts) = taken.take() else { return nil }
        return counts.reduce(0, +)
    }
}
