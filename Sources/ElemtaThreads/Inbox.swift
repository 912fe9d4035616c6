import Glibc

/// A queue into one thread: anyone posts, the owner blocks until something is there and takes all
/// of it at once.
///
/// Taking everything is what makes group commit form its batches without a timer: while the owner
/// works, the next batch gathers here.
@safe public final class Inbox<Element: Sendable>: @unchecked Sendable {
    // Safe because both pointers are made in `init`, freed in `deinit`, and `waiting`, `isClosed`
    // are only touched between lock and unlock.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let arrived: UnsafeMutablePointer<pthread_cond_t>
    private var waiting: [Element] = []
    /// The weights of `waiting` added up.
    private var weight = 0
    /// The weight that the owner wants to be woken for.
    private var wanted = 1
    private var isClosed = false

    public init() {
        unsafe mutex = .allocate(capacity: 1)
        unsafe arrived = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        // Deadlines are counted on the monotonic clock: a stepped wall clock must not delay retries.
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(arrived, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    deinit {
        unsafe pthread_cond_destroy(arrived)
        unsafe pthread_mutex_destroy(mutex)
        unsafe arrived.deallocate()
        unsafe mutex.deallocate()
    }

    /// Puts `element` at the end and wakes the owner, unless it gathers and there isn't enough yet.
    /// False once the inbox is closed.
    ///
    /// - Parameter weight: how much the element adds to what `take(within:gathering:)` waits for; 1
    ///   where `takeOne()` is used.
    @discardableResult
    public func post(_ element: Element, weight added: Int = 1) -> Bool {
        unsafe pthread_mutex_lock(mutex)
        guard !isClosed else {
            unsafe pthread_mutex_unlock(mutex)
            return false
        }
        let before = weight
        waiting.append(element)
        weight += added
        // One signal is enough: more elements than one are taken together.
        let isEnough = before < wanted && weight >= wanted
        unsafe pthread_mutex_unlock(mutex)
        // Not before: whoever wakes would only wait for the lock.
        if isEnough { unsafe pthread_cond_signal(arrived) }
        return true
    }

    /// What the owner finds when it wakes.
    public enum Delivery {
        /// Everything that was posted since the last call, oldest first; never empty.
        case elements([Element])
        /// The time given to `take(within:)` has passed and nothing was there.
        case timedOut
        /// Closed and empty: nothing will come any more.
        case closed
    }

    /// Blocks until there is enough, the inbox is closed, or `limit` (nil: no limit) has passed.
    ///
    /// - Parameter weight: what is enough; what there is when `limit` has passed is taken as well.
    public func take(within limit: Duration? = nil, gathering weight: Int = 1) -> Delivery {
        let deadline = limit.map(Self.monotonicDeadline)
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        wanted = weight
        defer { wanted = 1 }
        while self.weight < weight, !isClosed {
            guard var deadline else {
                unsafe pthread_cond_wait(arrived, mutex)
                continue
            }
            if unsafe pthread_cond_timedwait(arrived, mutex, &deadline) == ETIMEDOUT { break }
        }
        guard !waiting.isEmpty else { return isClosed ? .closed : .timedOut }
        var taken: [Element] = []
        swap(&taken, &waiting)
        self.weight = 0
        return .elements(taken)
    }

    /// Takes one element, the oldest, blocking like `take(within:)`; nil once closed and empty.
    /// For pools, where several threads share one inbox.
    public func takeOne() -> Element? {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        while waiting.isEmpty {
            if isClosed { return nil }
            unsafe pthread_cond_wait(arrived, mutex)
        }
        let first = waiting.removeFirst()
        weight = waiting.count
        // `post` signals only on the first element: pass the wake-up on to the next sleeper.
        if !waiting.isEmpty { unsafe pthread_cond_signal(arrived) }
        return first
    }

    /// Elements that nobody has taken yet.
    public var count: Int {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return waiting.count
    }

    /// Refuses further elements; what is already there can still be taken.
    public func close() {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        isClosed = true
        unsafe pthread_cond_broadcast(arrived)
    }

    private static func monotonicDeadline(after limit: Duration) -> timespec {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        let (seconds, attoseconds) = max(limit, .zero).components
        let nanoseconds = now.tv_nsec + Int(attoseconds / 1_000_000_000)
        return timespec(
            tv_sec: now.tv_sec + Int(seconds) + nanoseconds / 1_000_000_000,
            tv_nsec: nanoseconds % 1_000_000_000)
    }
}
