import CLibevent
import Glibc

/// The owner of one `evhttp` (libevent: `evhttp_new`, freed by `evhttp_free`, which closes its
/// connections) with the `evconnlistener` of every socket it accepts from; the sockets themselves
/// stay their owner's.
@safe struct HTTPServer: ~Copyable {
    // Safe because it is made in `init`, freed in `deinit`, and never leaves this owner; the
    // listeners are freed with it.
    private let pointer: OpaquePointer
    private var listeners: [OpaquePointer]

    /// Octets of a body that is read and thrown away, so that who sends one is told 405; longer ones are
    /// refused with 413.
    private static let maximumBody = 4096

    init(on base: EventBase, headerOctets: Int) throws(ReactorError) {
        guard let made = unsafe evhttp_new(base.pointer) else { throw .current("evhttp_new") }
        unsafe pointer = made
        unsafe listeners = []
        unsafe evhttp_set_max_headers_size(made, headerOctets)
        unsafe evhttp_set_max_body_size(made, Self.maximumBody)
        // All that libevent knows: those that aren't allowed are answered 405, not 501.
        let methods = [
            EVHTTP_REQ_GET, EVHTTP_REQ_POST, EVHTTP_REQ_HEAD, EVHTTP_REQ_PUT, EVHTTP_REQ_DELETE,
            EVHTTP_REQ_OPTIONS, EVHTTP_REQ_TRACE, EVHTTP_REQ_CONNECT, EVHTTP_REQ_PATCH,
        ]
        let mask = methods.reduce(0) { $0 | $1.rawValue }
        unsafe evhttp_set_allowed_methods(made, UInt16(mask))
    }

    /// `connected` makes the bufferevent of each connection that is accepted, `requested` answers each
    /// request; `context` must live as long as this owner.
    @unsafe func setCallbacks(
        connected: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> OpaquePointer?,
        requested: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Void,
        context: UnsafeMutableRawPointer
    ) {
        unsafe evhttp_set_bevcb(pointer, connected, context)
        unsafe evhttp_set_gencb(pointer, requested, context)
    }

    /// Accepts from `descriptor`, which listens and must stay open as long as this owner.
    mutating func accept(from descriptor: Int32, on base: EventBase) throws(ReactorError) {
        let options = UInt32(LEV_OPT_CLOSE_ON_EXEC)
        guard
            let listener = unsafe evconnlistener_new(
                base.pointer, nil, nil, options, 0, descriptor)
        else { throw .current("evconnlistener_new") }
        guard unsafe evhttp_bind_listener(pointer, listener) != nil else {
            unsafe evconnlistener_free(listener)
            throw .current("evhttp_bind_listener")
        }
        // Out of descriptors the socket stays readable, and the loop would spin. Whoever looks after
        // the connections resumes it a moment later.
        unsafe evconnlistener_set_error_cb(listener) { listener, _ in
            unsafe evconnlistener_disable(listener)
        }
        unsafe listeners.append(listener)
    }

    /// Accepts nobody until ``resume()``; also legal while a connection is being accepted, which then
    /// is the last one.
    func pause() {
        unsafe listeners.forEach { unsafe evconnlistener_disable($0) }
    }

    func resume() {
        unsafe listeners.forEach { unsafe evconnlistener_enable($0) }
    }

    deinit {
        unsafe evhttp_free(pointer)
    }
}

/// One connection of an `HTTPServer`: a reference of our own to its `bufferevent`
/// (`bufferevent_socket_new`, then `bufferevent_incref`, let go by `bufferevent_decref`).
///
/// libevent 2.1 says neither how many connections an `evhttp` has nor when one is over, and its
/// timeouts begin anew at each octet. With the reference a connection can be looked at and cut off
/// whatever it is doing. Its socket is closed when this owner and libevent have both let go.
@safe final class HTTPConnection {
    // Safe because the reference keeps it alive until `deinit`.
    private let pointer: OpaquePointer
    let accepted = MonotonicTime.now

    /// Input that libevent buffers, octets: more than a header may have, and an end to what a client
    /// sends behind its request.
    private static let inputLimit = 65536

    init?(on base: EventBase) {
        let options = Int32(bitPattern: BEV_OPT_CLOSE_ON_FREE.rawValue)
        guard let made = unsafe bufferevent_socket_new(base.pointer, -1, options) else {
            return nil
        }
        unsafe pointer = made
        unsafe bufferevent_incref(made)
        unsafe bufferevent_setwatermark(made, Int16(EV_READ), 0, Self.inputLimit)
    }

    deinit {
        _ = unsafe bufferevent_decref(pointer)
    }

    /// For evhttp, which takes the reference that the bufferevent was made with.
    @unsafe var lent: OpaquePointer { unsafe pointer }

    /// Whether evhttp has freed its side: it sets callbacks first thing, and `bufferevent_free` takes
    /// them off.
    var isOver: Bool {
        var eventCallback: bufferevent_event_cb?
        // Safe because the variable has the right type, and nil says that the others aren't wanted.
        unsafe bufferevent_getcb(pointer, nil, nil, &eventCallback, nil)
        return unsafe eventCallback == nil
    }

    /// evhttp finds the connection at its end, and frees it.
    func cutOff() {
        shutdown(unsafe bufferevent_getfd(pointer), Int32(SHUT_RDWR))
    }
}
