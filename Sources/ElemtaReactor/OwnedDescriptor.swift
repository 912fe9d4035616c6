import Glibc

/// A file descriptor that is closed when its owner goes away.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, lent: never close it, never keep it beyond this owner.
    public let number: Int32

    /// Takes `number` over; nobody else may close it from now on.
    public init(taking number: Int32) {
        self.number = number
    }

    /// Gives the descriptor away: the caller (or the C call it is for) closes it now.
    public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    deinit {
        // Not repeated on EINTR: Linux has freed the number by then, another thread may own it.
        close(number)
    }
}
