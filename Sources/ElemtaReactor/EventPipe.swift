import CLibevent
import Glibc

/// The way from any thread to a loop's thread: messages go through a queue, and an eventfd in the
/// loop says that there are some.
///
/// However many messages are posted before the loop turns, they cost one wake-up and come in one
/// call, in the order in which they were posted. Releasing the pipe, on any thread, ends it after
/// what was posted has been delivered.
public final class EventPipe<Message: Sendable>: Sendable {
    private let queue: PipeQueue<Message>

    /// Call it on the loop's thread; `deliver` runs there and gets at least one message.
    /// Throws `eventfd` with `EMFILE` or `ENFILE` when descriptors ran out.
    public init(
        loop: EventLoop, deliver: @escaping ([Message]) -> Void
    ) throws(ReactorError) {
        let queue = try PipeQueue<Message>()
        self.queue = queue
        let descriptor = queue.descriptor
        let watch = loop.watch(readable: descriptor) { [weak loop] in
            let (messages, isClosed) = queue.takeAll()
            if !messages.isEmpty { deliver(messages) }
            if isClosed { loop?.detach(descriptor) }
        }
        loop.attach(.init(watch: watch, close: queue.close), for: descriptor)
    }

    deinit {
        queue.close()
    }

    /// Ends the pipe as releasing it does: for owners that `deliver` keeps alive.
    public func close() {
        queue.close()
    }

    /// Puts `message` behind those posted before. Dropped once the pipe is closed or the loop gone.
    public func post(_ message: Message) {
        queue.post(CollectionOfOne(message))
    }

    /// Puts all of `messages`, together and in order, behind those posted before.
    public func post(contentsOf messages: [Message]) {
        guard !messages.isEmpty else { return }
        queue.post(messages)
    }
}

/// What both ends of an ``EventPipe`` share; the eventfd is closed when both are gone.
@safe private final class PipeQueue<Message: Sendable>: @unchecked Sendable {
    // Safe because `mutex` is made in `init` and freed in `deinit`, and `messages` and `isClosed`
    // are only touched between lock and unlock. Not Synchronization's Mutex: that one is compiled
    // into a library that the thread sanitizer can't look into.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var messages: [Message] = []
    private var isClosed = false
    private let event: OwnedDescriptor

    var descriptor: Int32 { event.number }

    init() throws(ReactorError) {
        let number = eventfd(0, O_NONBLOCK | O_CLOEXEC)
        guard number >= 0 else { throw .current("eventfd") }
        event = OwnedDescriptor(taking: number)
        unsafe mutex = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    func post(_ posted: some Collection<Message>) {
        let isFirst = locked {
            guard !isClosed else { return false }
            let wasEmpty = messages.isEmpty
            messages.append(contentsOf: posted)
            return wasEmpty
        }
        // The loop takes everything at once, so only the first message has to wake it.
        if isFirst { eventfd_write(event.number, 1) }
    }

    func takeAll() -> (messages: [Message], isClosed: Bool) {
        // Read first: what is posted from here on rings again.
        var count: eventfd_t = 0
        // Safe because `count` is a local of the right type.
        unsafe eventfd_read(event.number, &count)
        return locked {
            var taken: [Message] = []
            swap(&taken, &messages)
            return (taken, isClosed)
        }
    }

    func close() {
        locked { isClosed = true }
        eventfd_write(event.number, 1)
    }

    private func locked<R>(_ body: () -> R) -> R {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return body()
    }
}
