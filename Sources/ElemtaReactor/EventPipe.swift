import CLibevent
import Glibc
import Synchronization

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
private final class PipeQueue<Message: Sendable>: Sendable {
    private struct State {
        var messages: [Message] = []
        var isClosed = false
    }

    private let event: OwnedDescriptor
    private let state = Mutex(State())

    var descriptor: Int32 { event.number }

    init() throws(ReactorError) {
        let number = eventfd(0, O_NONBLOCK | O_CLOEXEC)
        guard number >= 0 else { throw .current("eventfd") }
        event = OwnedDescriptor(taking: number)
    }

    func post(_ messages: some Collection<Message>) {
        let isFirst = state.withLock { state in
            guard !state.isClosed else { return false }
            let wasEmpty = state.messages.isEmpty
            state.messages.append(contentsOf: messages)
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
        return state.withLock { state in
            var taken: [Message] = []
            swap(&taken, &state.messages)
            return (taken, state.isClosed)
        }
    }

    func close() {
        state.withLock { $0.isClosed = true }
        eventfd_write(event.number, 1)
    }
}
