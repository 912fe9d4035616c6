import CLibevent
import Glibc

/// The owner of one `event_base` (libevent: `event_base_new_with_config`, freed by
/// `event_base_free`).
///
/// Whoever has an event in the base keeps it alive by a strong reference: freeing the base before
/// its events would leave them pointing into freed memory.
@safe final class EventBase {
    // Safe because it is made in `init`, freed in `deinit`, and lent only to calls on this thread.
    let pointer: OpaquePointer

    init() throws(ReactorError) {
        guard let configuration = unsafe event_config_new() else {
            throw .current("event_config_new")
        }
        defer { unsafe event_config_free(configuration) }
        // One thread uses a base, so it needs no lock; EventPipe is the way in for the others. The
        // change list spares an epoll_ctl where an event is added and deleted in one round; it
        // is right as long as no descriptor in the base is a dup(2) of another, and none is.
        let flags = [EVENT_BASE_FLAG_NOLOCK, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST]
        for flag in flags {
            unsafe event_config_set_flag(configuration, Int32(flag.rawValue))
        }
        guard let base = unsafe event_base_new_with_config(configuration) else {
            throw .current("event_base_new_with_config")
        }
        unsafe pointer = base
    }

    deinit {
        // Runs the finalizers of bufferevents that were freed since the loop last turned.
        unsafe event_base_free(pointer)
    }
}

/// The owner of one `event` (libevent: `event_new`, freed by `event_free`, which also takes it out
/// of the base; legal inside its own callback).
@safe struct Event: ~Copyable {
    // Safe because it is made in `init`, freed in `deinit`, and never leaves this owner.
    private let pointer: OpaquePointer

    /// `context` must live as long as this owner. Out of memory ends the process, as it does in
    /// every Swift allocation: `event_new` fails for no other reason here.
    @unsafe init(
        in base: EventBase, number: Int32, kind: Int32, callback: event_callback_fn,
        context: UnsafeMutableRawPointer
    ) {
        let made = unsafe event_new(base.pointer, number, Int16(kind), callback, context)
        guard let made = unsafe made else { preconditionFailure("event_new: out of memory") }
        unsafe pointer = made
    }

    /// Waits for what the event is about, or for `delay` where one is given (`event_add`).
    func add(after delay: Duration? = nil) {
        guard let delay else {
            unsafe event_add(pointer, nil)
            return
        }
        var time = timeval(delay)
        // Safe because `time` is copied by the call.
        unsafe event_add(pointer, &time)
    }

    /// Waits no longer (`event_del`).
    func remove() {
        unsafe event_del(pointer)
    }

    deinit {
        unsafe event_free(pointer)
    }
}
