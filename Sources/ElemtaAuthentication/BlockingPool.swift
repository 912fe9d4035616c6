public import ElemtaThreads
import Synchronization

/// A few threads for questions that block: a hash for milliseconds, a directory for seconds.
///
/// What waits is bounded in number and in time: a flood of questions, or a directory that doesn't
/// answer, costs those who ask and nobody else.
public final class BlockingPool: Sendable {
    private let work: Work
    private let threads: Locked<[NamedThread]>

    /// Starts `count` threads called `name` and their number. `maximumWaiting`: how many questions may
    /// wait for one of them; `patience`: how long.
    public init(
        _ name: String, threads count: Int = 4, maximumWaiting: Int = 128,
        patience: Duration = .seconds(10)
    ) throws(ThreadError) {
        let work = Work(maximumWaiting: maximumWaiting, patience: patience)
        self.work = work
        threads = Locked([])
        do throws(ThreadError) {
            for index in 0..<max(count, 1) {
                let thread = try NamedThread("\(name)-\(index)") { work.run() }
                threads.withLock { $0.append(thread) }
            }
        } catch {
            stop()
            throw error
        }
    }

    deinit {
        // Not joined: whoever let go of the pool may be a question's asker on one of its threads.
        work.close()
    }

    /// Has a question answered; any thread. `body` runs once, on a thread of the pool, where `true`
    /// tells it that it has waited too long to be worth the work.
    ///
    /// - Returns: false when too many wait already or the pool has stopped: `body` never runs.
    public func ask(_ body: @escaping @Sendable (_ isTooLate: Bool) -> Void) -> Bool {
        work.add(body)
    }

    /// Questions that wait for a thread.
    public var backlog: Int { work.backlog }

    /// Runs `body` on a thread of the pool, behind what waits; any thread. For what isn't a client's
    /// doing. Dropped once the pool has stopped.
    public func perform(_ body: @escaping @Sendable () -> Void) {
        work.add(other: body)
    }

    /// Tells what waits that it is too late, lets what is being answered finish, and ends the
    /// threads. Not to be called on one of them.
    public func stop() {
        work.close()
        let ending = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in ending { thread.join() }
    }

    /// What the threads share; it outlives the pool for as long as one of them runs.
    private final class Work: Sendable {
        private enum Job: Sendable {
            case question(posted: ContinuousClock.Instant, @Sendable (_ isTooLate: Bool) -> Void)
            case other(@Sendable () -> Void)
        }

        private let maximumWaiting: Int
        private let patience: Duration
        private let inbox = Inbox<Job>()
        /// Questions in the inbox.
        private let waiting = Atomic<Int>(0)
        private let isClosed = Atomic<Bool>(false)

        init(maximumWaiting: Int, patience: Duration) {
            self.maximumWaiting = maximumWaiting
            self.patience = patience
        }

        /// False when there is no room for it.
        func add(_ body: @escaping @Sendable (_ isTooLate: Bool) -> Void) -> Bool {
            let isTaken =
                waiting.add(1, ordering: .relaxed).newValue <= maximumWaiting
                && inbox.post(.question(posted: .now, body))
            if !isTaken { waiting.subtract(1, ordering: .relaxed) }
            return isTaken
        }

        func add(other body: @escaping @Sendable () -> Void) {
            inbox.post(.other(body))
        }

        func run() {
            while let job = inbox.takeOne() {
                switch job {
                case .question(let posted, let body):
                    waiting.subtract(1, ordering: .relaxed)
                    // Behind a directory that doesn't answer the last ones would wait for minutes.
                    body(isClosed.load(ordering: .relaxed) || posted.duration(to: .now) > patience)
                case .other(let body): body()
                }
            }
        }

        var backlog: Int { waiting.load(ordering: .relaxed) }

        func close() {
            isClosed.store(true, ordering: .relaxed)
            inbox.close()
        }
    }
}
