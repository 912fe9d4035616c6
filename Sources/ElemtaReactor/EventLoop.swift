import CLibevent
import Glibc

/// One thread's event loop: libevent's `event_base` on epoll.
///
/// Made, run and released on one thread; not `Sendable`. The only way in from another thread is an
/// ``EventPipe``. Bodies given to a loop run on its thread, one at a time, inside ``run()``.
public final class EventLoop {
    let base: EventBase
    /// Connections whose owner said "close after flush", until they are gone.
    let closing = ConnectionTable<Connection>()
    private var closingSweep: LoopTimer?
    private var pipes: [Int32: PipeEnd] = [:]

    /// The loop's side of an ``EventPipe``.
    struct PipeEnd {
        let watch: DescriptorWatch
        let close: () -> Void
    }

    /// Also makes the process ignore `SIGPIPE`: a peer that is gone is an error of one connection.
    public init() throws(ReactorError) {
        signal(SIGPIPE, SIG_IGN)
        base = try EventBase()
    }

    deinit {
        for end in pipes.values { end.close() }
    }

    /// Runs bodies until ``stop()``, also while there is nothing to wait for.
    public func run() {
        // Safe because `base` outlives the call: `self` is alive.
        unsafe event_base_loop(base.pointer, EVLOOP_NO_EXIT_ON_EMPTY)
    }

    /// Ends the ``run()`` that is going on at the end of this turn: what has happened by then is
    /// still delivered, and connections closed by then are really closed (libevent does that with
    /// the turn's last callbacks).
    public func stop() {
        // Safe because `base` is alive.
        unsafe event_base_loopexit(base.pointer, nil)
    }

    /// The monotonic time; cheap enough to be asked once per event.
    public var now: MonotonicTime { .now }

    /// Runs `body` once, `delay` from now, unless the timer is cancelled or released before.
    public func after(_ delay: Duration, _ body: @escaping () -> Void) -> LoopTimer {
        EventWatch(on: base, number: -1, kind: 0, delay: delay, body)
    }

    /// Runs `body` every `interval` until the timer is cancelled or released.
    public func every(_ interval: Duration, _ body: @escaping () -> Void) -> LoopTimer {
        EventWatch(on: base, number: -1, kind: EV_PERSIST, delay: interval, body)
    }

    /// Runs `body` on the loop whenever the process receives signal `number`. libevent keeps one
    /// table of signals per process: only one loop may watch any.
    public func onSignal(_ number: Int32, _ body: @escaping () -> Void) -> SignalWatch {
        EventWatch(on: base, number: number, kind: EV_SIGNAL | EV_PERSIST, delay: nil, body)
    }

    /// Runs `body` while `descriptor` is readable, once a turn. The descriptor stays the caller's
    /// and must stay open as long as the watch.
    public func watch(
        readable descriptor: Int32, _ body: @escaping () -> Void
    ) -> DescriptorWatch {
        EventWatch(on: base, number: descriptor, kind: EV_READ | EV_PERSIST, delay: nil, body)
    }

    func attach(_ end: PipeEnd, for descriptor: Int32) {
        pipes[descriptor] = end
    }

    func detach(_ descriptor: Int32) {
        pipes[descriptor] = nil
    }

    /// Connections that are still saying farewell after ``Connection/closeAfterFlush()``.
    public var closingCount: Int { closing.count }

    /// Keeps `connection` until it has said farewell, at most until `deadline`.
    func adopt(closing connection: Connection, deadline: MonotonicTime) -> ConnectionID {
        let id = closing.insert(connection)
        closing.setDeadline(deadline, for: id)
        if closingSweep == nil {
            closingSweep = every(.seconds(1)) { [unowned self] in
                closing.expire(at: now) { _, connection in connection.closingTookTooLong() }
                if closing.count == 0 { closingSweep = nil }
            }
        }
        return id
    }
}

/// Something a loop waits for, with what it then runs. Cancelled when it is released; both are
/// allowed inside its own body.
///
/// Wraps libevent's `event`.
@safe public final class EventWatch {
    private var event: Event?
    private var body: (() -> Void)?
    // Kept so that the base is freed after the event.
    private let base: EventBase

    init(
        on base: EventBase, number: Int32, kind: Int32, delay: Duration?,
        _ body: @escaping () -> Void
    ) {
        self.base = base
        self.body = body
        // Safe because the event is freed by this object's deinit at the latest, so `context`
        // points to a live object whenever the callback runs; the callback keeps it alive.
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        event = unsafe Event(
            in: base, number: number, kind: kind,
            callback: { _, _, context in
                guard let context = unsafe context else { return }
                let watch = unsafe Unmanaged<EventWatch>.fromOpaque(context).takeUnretainedValue()
                watch.body?()
            },
            context: context)
        event?.add(after: delay)
    }

    deinit {
        // Before the base is let go.
        event = nil
    }

    /// The body isn't run any more, and what it captured is let go.
    public func cancel() {
        event = nil
        body = nil
    }
}

/// What ``EventLoop/after(_:_:)`` and ``EventLoop/every(_:_:)`` return.
public typealias LoopTimer = EventWatch
/// What ``EventLoop/onSignal(_:_:)`` returns.
public typealias SignalWatch = EventWatch
/// What ``EventLoop/watch(readable:_:)`` returns.
public typealias DescriptorWatch = EventWatch
