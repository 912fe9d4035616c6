import ElemtaThreads

/// A thread for each request that is being answered, so that none waits for another's pager; at most
/// so many of each kind. Reactor thread only.
struct AnswerThreads: ~Copyable {
    enum Kind {
        /// Lasts as long as its client reads.
        case looking
        /// Lasts as long as the work.
        case changing

        fileprivate var limit: Int {
            switch self {
            case .looking: 16
            case .changing: 8
            }
        }
    }

    private var running: [Int: (kind: Kind, thread: NamedThread)] = [:]
    private var last = 0

    /// Begins to answer. False when as many are at it as may be, or no thread can be had.
    ///
    /// - Parameter body: gets the number that `ended` is to be called with once it has returned.
    mutating func begin(_ kind: Kind, _ body: @escaping @Sendable (Int) -> Void) -> Bool {
        guard running.values.count(where: { $0.kind == kind }) < kind.limit else { return false }
        last += 1
        let number = last
        guard let thread = try? NamedThread("elemta-control", { body(number) }) else {
            return false
        }
        running[number] = (kind, thread)
        return true
    }

    mutating func ended(_ number: Int) {
        running.removeValue(forKey: number)?.thread.join()
    }

    /// Waits for all of them.
    mutating func join() {
        for (_, thread) in running.values { thread.join() }
        running = [:]
    }
}
