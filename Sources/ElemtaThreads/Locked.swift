import Glibc

/// A value that several threads look at and change, one at a time.
///
/// Not Synchronization's Mutex: that one is compiled into a library that the thread sanitizer can't
/// look into, so that what it guards seems to be unguarded.
@safe public final class Locked<Value: ~Copyable>: @unchecked Sendable {
    // Safe because `mutex` is made in `init` and freed in `deinit`, and `value` is only touched
    // between lock and unlock.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    public init(_ value: consuming sending Value) {
        self.value = value
        unsafe mutex = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Runs `body` while no other thread is inside. Must not be called inside itself.
    public func withLock<R: ~Copyable, E: Error>(_ body: (inout Value) throws(E) -> sending R)
        throws(E) -> R
    {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
