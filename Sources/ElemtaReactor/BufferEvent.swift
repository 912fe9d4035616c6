import CLibevent
import Glibc

/// The owner of one `bufferevent` (libevent: `bufferevent_socket_new` with
/// `BEV_OPT_CLOSE_ON_FREE`, freed by `bufferevent_free`), and of a TLS filter on top of it from
/// ``startTLS(_:as:on:)`` on.
///
/// Freeing takes the callbacks off at once; libevent closes the socket and gives the memory back when
/// the loop next turns, so buffers lent before stay valid until the running callback has returned.
@safe struct BufferEvent: ~Copyable {
    // Safe because they are made here, freed in `deinit`, and lent only to calls on this thread.
    /// What is read from and written to: the filter where there is one.
    var pointer: OpaquePointer
    /// A filter could not be made, which leaves open who owns what.
    var isLost = false

    /// Takes `descriptor` over, also when this throws.
    init(
        on base: EventBase, socket descriptor: consuming OwnedDescriptor
    ) throws(ReactorError) {
        let options = Int32(bitPattern: BEV_OPT_CLOSE_ON_FREE.rawValue)
        guard
            let made = unsafe bufferevent_socket_new(base.pointer, descriptor.number, options)
        else { throw .current("bufferevent_socket_new") }
        _ = descriptor.release()
        unsafe pointer = made
    }

    deinit {
        if !isLost {
            unsafe removeFilterCallback()
            unsafe bufferevent_free(pointer)
        }
    }

    /// What has the socket; owned by the filter where there is one. Asked for, not kept: it would be 8 octets of
    /// every connection.
    @unsafe var socket: OpaquePointer { unsafe bufferevent_get_underlying(pointer) ?? pointer }

    var isFiltered: Bool { unsafe bufferevent_get_underlying(pointer) != nil }

    /// Octets received and not drained. Never longer-lived than this owner's callback.
    @unsafe var input: OpaquePointer { unsafe bufferevent_get_input(pointer) }
    /// Octets written and not sent.
    @unsafe var output: OpaquePointer { unsafe bufferevent_get_output(pointer) }

    /// The socket's side of `output`: encrypted where there is a filter.
    @unsafe var socketOutput: OpaquePointer { unsafe bufferevent_get_output(socket) }

    var descriptor: Int32 { unsafe bufferevent_getfd(socket) }
    var inputCount: Int { unsafe evbuffer_get_length(input) }
    var outputCount: Int {
        let count = unsafe evbuffer_get_length(output)
        return unsafe isFiltered ? count + evbuffer_get_length(socketOutput) : count
    }

    /// `context` must live until this owner is gone.
    @unsafe func setCallbacks(
        read: bufferevent_data_cb, write: bufferevent_data_cb, event: bufferevent_event_cb,
        context: UnsafeMutableRawPointer
    ) {
        unsafe bufferevent_setcb(pointer, read, write, event, context)
    }

    /// Under a filter this may decrypt at once what was received before.
    func enableReading() {
        guard isFiltered else {
            unsafe bufferevent_enable(pointer, Int16(EV_READ))
            return
        }
        unsafe bufferevent_enable(socket, Int16(EV_READ))
        unsafe bufferevent_enable(pointer, Int16(EV_READ))
        releaseEmptyInput()
    }

    /// Both, under a filter: libevent's filter goes on to have its socket read after an end or an
    /// error, and so would let a peer fill the memory.
    func disableReading() {
        unsafe bufferevent_disable(pointer, Int16(EV_READ))
        if isFiltered { unsafe bufferevent_disable(socket, Int16(EV_READ)) }
    }

    func enableWriting() {
        unsafe bufferevent_enable(pointer, Int16(EV_WRITE))
    }

    /// From now on what is written waits for ``sendNow(atMost:)``.
    func disableWriting() {
        guard !isFiltered else { return }
        unsafe bufferevent_disable(pointer, Int16(EV_WRITE))
    }

    /// Gives the kernel what it takes of the output; the loop goes on with the rest, and with errors.
    /// True when nothing is left.
    func sendNow(atMost limit: Int) -> Bool {
        guard !isFiltered else { return false }
        let output = unsafe output
        // libevent freezes the front of the output, so that only its own writes take from it.
        unsafe evbuffer_unfreeze(output, 1)
        unsafe evbuffer_write_atmost(output, descriptor, limit)
        unsafe evbuffer_freeze(output, 1)
        if unsafe evbuffer_get_length(output) == 0 { return true }
        enableWriting()
        return false
    }

    func disable() {
        guard !isLost else { return }
        unsafe bufferevent_disable(pointer, Int16(EV_READ | EV_WRITE))
        if isFiltered { unsafe bufferevent_disable(socket, Int16(EV_READ | EV_WRITE)) }
    }

    /// Says that the socket's `connect` is under way; its end is told by the event callback, or
    /// `BEV_EVENT_TIMEOUT` after `timeout`.
    func awaitConnection(timeout: Duration) -> Bool {
        var limit = timeval(timeout)
        // Safe because the time is copied.
        unsafe bufferevent_set_timeouts(pointer, nil, &limit)
        return unsafe bufferevent_socket_connect(pointer, nil, 0) == 0
    }

    func removeTimeouts() {
        unsafe bufferevent_set_timeouts(pointer, nil, nil)
    }

    /// The write callback runs after each send that leaves at most `count` octets. Under a filter it
    /// runs after each send anyway.
    func setWriteLowWater(_ count: Int) {
        guard !isFiltered else { return }
        unsafe bufferevent_setwatermark(pointer, Int16(EV_WRITE), count, 0)
    }

    func setMaximumSingleWrite(_ count: Int) {
        unsafe bufferevent_set_max_single_write(pointer, count)
    }

    /// Runs the read callback from the loop, soon and once, however often this is called.
    func scheduleReadCallback() {
        unsafe bufferevent_trigger(pointer, Int16(EV_READ), Self.deferred)
    }

    /// Runs the write callback from the loop, soon and once.
    func scheduleWriteCallback() {
        unsafe bufferevent_trigger(pointer, Int16(EV_WRITE), Self.deferred)
    }

    /// Runs the event callback from the loop as if a write had failed with `code`.
    func scheduleWriteError(_ code: Int32) {
        // libevent keeps errno for the deferred callback.
        errno = code
        let what = Int16(BEV_EVENT_ERROR | BEV_EVENT_WRITING)
        unsafe bufferevent_trigger_event(pointer, what, Self.deferred)
    }

    static var deferred: Int32 {
        Int32(bitPattern: BEV_OPT_DEFER_CALLBACKS.rawValue)
            | Int32(bitPattern: BEV_TRIG_IGNORE_WATERMARKS.rawValue)
    }

    /// Reads about `limit` octets that wait in the kernel into the input, past libevent's own
    /// limit: `evbuffer_read` takes 4,096 octets a turn (`EVBUFFER_MAX_READ`), whatever
    /// `bufferevent_set_max_single_read` says. Returns how many came; errors and the end of the
    /// stream are left for libevent to find.
    func readMore(atMost limit: Int) -> Int {
        var waiting: Int32 = 0
        // Asked first, so that no segment is made longer than what fills it.
        // Safe because `waiting` is what FIONREAD asks for.
        guard unsafe ioctl(descriptor, UInt(FIONREAD), &waiting) == 0 else { return 0 }
        let wanted = min(Int(waiting), limit)
        var total = 0
        while total < wanted {
            let count = readOnce(min(wanted - total, Segments.payload))
            guard count > 0 else { break }
            total += count
        }
        return total
    }

    /// One `readv` into the free end of the last segment and a new one for the rest.
    private func readOnce(_ count: Int) -> Int {
        let input = unsafe input
        // libevent freezes the end of the input, so that only its own reads append to it.
        unsafe evbuffer_unfreeze(input, 0)
        defer { unsafe evbuffer_freeze(input, 0) }
        // Safe because the space that evbuffer_reserve_space lends stays where it is until it is
        // committed, and no more octets are committed than were read into it.
        return unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { spaces in
            let used = unsafe evbuffer_reserve_space(input, count, spaces.baseAddress, 2)
            guard used > 0 else { return 0 }
            // More may be lent than was asked for.
            unsafe spaces[0].iov_len = min(count, spaces[0].iov_len)
            if used == 2 {
                unsafe spaces[1].iov_len = min(count - spaces[0].iov_len, spaces[1].iov_len)
            }
            let received = unsafe readv(descriptor, spaces.baseAddress, used)
            guard received > 0 else { return 0 }
            unsafe spaces[0].iov_len = min(received, spaces[0].iov_len)
            if used == 2 { unsafe spaces[1].iov_len = received - spaces[0].iov_len }
            unsafe evbuffer_commit_space(input, spaces.baseAddress, used)
            return received
        }
    }
}
