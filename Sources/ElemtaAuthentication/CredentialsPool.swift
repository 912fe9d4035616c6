public import ElemtaThreads

/// The few threads that hash passwords and ask directories, so that neither ever holds the reactor.
///
/// A flood of guesses, or a directory that doesn't answer, costs the clients that authenticate and
/// nobody else: see `BlockingPool`.
public final class CredentialsPool: Sendable {
    private let backend: any AuthenticationBackend
    private let pool: BlockingPool

    /// Starts `count` threads. `maximumWaiting`: how many credentials may wait for one of them;
    /// `patience`: how long.
    public init(
        backend: any AuthenticationBackend, threads count: Int = 4, maximumWaiting: Int = 128,
        patience: Duration = .seconds(10)
    ) throws(ThreadError) {
        self.backend = backend
        pool = try BlockingPool(
            "elemta-auth", threads: count, maximumWaiting: maximumWaiting, patience: patience)
    }

    /// Has `credentials` verified; any thread. `completion` runs once, on a thread of the pool, or
    /// here at once with `.temporarilyUnavailable` when too many wait already or the pool stopped.
    public func verify(
        _ credentials: Credentials,
        completion: @escaping @Sendable (AuthenticationResult) -> Void
    ) {
        let isTaken = pool.ask { [backend] isTooLate in
            completion(isTooLate ? .temporarilyUnavailable : backend.verify(credentials))
        }
        if !isTaken { completion(.temporarilyUnavailable) }
    }

    /// Credentials that wait for a thread.
    public var backlog: Int { pool.backlog }

    /// Runs `body` on a thread of the pool, behind what waits; any thread. For what may block as a
    /// verification may. Dropped once the pool has stopped.
    public func perform(_ body: @escaping @Sendable () -> Void) {
        pool.perform(body)
    }

    /// Answers what waits with `.temporarilyUnavailable`, lets what is being verified finish, and
    /// ends the threads. Not to be called from a completion.
    public func stop() { pool.stop() }
}
