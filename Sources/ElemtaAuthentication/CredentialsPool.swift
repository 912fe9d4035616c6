public import ElemtaThreads
import Synchronization

/// The few threads that hash passwords and ask directories, so that neither ever holds the reactor.
///
/// What waits is bounded in number and in time: a flood of guesses, or a directory that doesn't
/// answer, costs the clients that authenticate and nobody else.
public final class CredentialsPool: Sendable {
    private let work: Work
    private let threads: Locked<[NamedThread]>

    /// Starts `count` threads. `maximumWaiting`: how many credentials may wait for one of them;
    /// `patience`: how long.
    public init(
        backend: any AuthenticationBackend, threads count: Int = 4, maximumWaiting: Int = 128,
        patience: Duration = .seconds(10)
    ) throws(ThreadError) {
        let work = Work(backend: backend, maximumWaiting: maximumWaiting, patience: patience)
        self.work = work
        threads = Locked([])
        do throws(ThreadError) {
            for index in 0..<max(count, 1) {
                let thread = try NamedThread("elemta-auth-\(index)") { work.run() }
                threads.withLock { $0.append(thread) }
            }
        } catch {
            stop()
            throw error
        }
    }

    deinit {
        // Not joined: whoever let go of the pool may be a completion on one of its threads.
        work.close()
    }

    /// Has `credentials` verified; any thread. `completion` runs once, on a thread of the pool, or
    /// here at once with `.temporarilyUnavailable` when too many wait already or the pool stopped.
    public func verify(
        _ credentials: Credentials,
        completion: @escaping @Sendable (AuthenticationResult) -> Void
    ) {
        if !work.add(credentials, completion) { completion(.temporarilyUnavailable) }
    }

    /// Runs `body` on a thread of the pool, behind what waits; any thread. For what may block as a
    /// verification may. Dropped once the pool has stopped.
    public func perform(_ body: @escaping @Sendable () -> Void) {
        work.add(body)
    }

    /// Answers what waits with `.temporarilyUnavailable`, lets what is being verified finish, and
    /// ends the threads. Not to be called from a completion.
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
            case verification(
                Credentials, posted: ContinuousClock.Instant,
                completion: @Sendable (AuthenticationResult) -> Void)
            case other(@Sendable () -> Void)
        }

        private let backend: any AuthenticationBackend
        private let maximumWaiting: Int
        private let patience: Duration
        private let inbox = Inbox<Job>()
        /// Verifications in the inbox.
        private let waiting = Atomic<Int>(0)
        private let isClosed = Atomic<Bool>(false)

        init(backend: any AuthenticationBackend, maximumWaiting: Int, patience: Duration) {
            self.backend = backend
            self.maximumWaiting = maximumWaiting
            self.patience = patience
        }

        /// False when there is no room for it.
        func add(
            _ credentials: Credentials,
            _ completion: @escaping @Sendable (AuthenticationResult) -> Void
        ) -> Bool {
            let job = Job.verification(credentials, posted: .now, completion: completion)
            let isTaken =
                waiting.add(1, ordering: .relaxed).newValue <= maximumWaiting && inbox.post(job)
            if !isTaken { waiting.subtract(1, ordering: .relaxed) }
            return isTaken
        }

        func add(_ body: @escaping @Sendable () -> Void) {
            inbox.post(.other(body))
        }

        func run() {
            while let job = inbox.takeOne() {
                switch job {
                case .verification(let credentials, let posted, let completion):
                    waiting.subtract(1, ordering: .relaxed)
                    completion(verify(credentials, posted))
                case .other(let body): body()
                }
            }
        }

        /// Behind a directory that doesn't answer the last ones would wait for minutes.
        private func verify(
            _ credentials: Credentials, _ posted: ContinuousClock.Instant
        ) -> AuthenticationResult {
            let isTooLate =
                isClosed.load(ordering: .relaxed) || posted.duration(to: .now) > patience
            return isTooLate ? .temporarilyUnavailable : backend.verify(credentials)
        }

        func close() {
            isClosed.store(true, ordering: .relaxed)
            inbox.close()
        }
    }
}
