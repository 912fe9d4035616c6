import Glibc

/// Many readers or one writer (`pthread_rwlock_t`): readers of the spool hold it for the length of
/// a read transaction, the spool thread takes it alone to replace a broken environment.
@safe final class ReadWriteLock: @unchecked Sendable {
    // Safe because it is made in `init`, freed in `deinit`, and touched by pthread calls alone.
    private let lock: UnsafeMutablePointer<pthread_rwlock_t>

    init() {
        unsafe lock = .allocate(capacity: 1)
        unsafe pthread_rwlock_init(lock, nil)
    }

    deinit {
        unsafe pthread_rwlock_destroy(lock)
        unsafe lock.deallocate()
    }

    func reading<R: ~Copyable, E>(_ body: () throws(E) -> R) throws(E) -> R {
        unsafe pthread_rwlock_rdlock(lock)
        defer { unsafe pthread_rwlock_unlock(lock) }
        return try body()
    }

    func writing<R: ~Copyable, E>(_ body: () throws(E) -> R) throws(E) -> R {
        unsafe pthread_rwlock_wrlock(lock)
        defer { unsafe pthread_rwlock_unlock(lock) }
        return try body()
    }
}
