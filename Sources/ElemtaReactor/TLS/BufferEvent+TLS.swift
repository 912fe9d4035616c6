import CLibevent
import COpenSSL
import Glibc

/// The TLS filter of libevent (`bufferevent_openssl_filter_new`) over the socket's bufferevent.
extension BufferEvent {
    /// What the socket's side may hold of received octets that aren't decrypted: two records. libevent
    /// reads on while the filter can't, so this is all that bounds them.
    private static let receivedLimit = 32 * 1024
    /// More encrypted octets than ever wait for the socket, unless a peer provokes answers (alerts to
    /// renegotiations, key updates) and doesn't read them. That fails the connection.
    private static let floodLimit = 96 * 1024
    /// As much may be added until it has failed.
    private static let encryptedLimit = 128 * 1024

    enum HandshakeRole {
        case accepting
        case connecting

        var state: bufferevent_ssl_state {
            switch self {
            case .accepting: BUFFEREVENT_SSL_ACCEPTING
            case .connecting: BUFFEREVENT_SSL_CONNECTING
            }
        }
    }

    /// Puts a filter on top and has the handshake begin when the loop turns. The callbacks are to be
    /// set again. False: out of memory, and this owner is good for nothing but being dropped.
    ///
    /// Callbacks are deferred: libevent's filter would run them inside calls into it. It frees
    /// session, bufferevent and socket (`BEV_OPT_CLOSE_ON_FREE`).
    mutating func startTLS(
        _ session: consuming TLSSession, as role: HandshakeRole, on base: EventBase
    ) -> Bool {
        precondition(!isFiltered, "TLS inside TLS")
        let options = BEV_OPT_CLOSE_ON_FREE.rawValue | BEV_OPT_DEFER_CALLBACKS.rawValue
        guard
            let filter = unsafe bufferevent_openssl_filter_new(
                base.pointer, socket, session.release(), role.state, Int32(bitPattern: options))
        else {
            // It may or may not have freed the bufferevent under it: a descriptor lost is better than
            // one closed twice.
            isLost = true
            return false
        }
        unsafe pointer = filter
        // An end without close_notify is told as an end, not as an error.
        unsafe bufferevent_openssl_set_allow_dirty_shutdown(filter, 1)
        unsafe bufferevent_setwatermark(socket, Int16(EV_READ), 0, Self.receivedLimit)
        unsafe bufferevent_setwatermark(
            socket, Int16(EV_WRITE), Self.encryptedLimit / 2, Self.encryptedLimit)
        // The filter tells what it has encrypted, but not what was sent.
        unsafe evbuffer_add_cb(
            socketOutput, Self.socketOutputChanged, UnsafeMutableRawPointer(filter))
        // A client speaks first, and libevent waits for the socket to tell of something.
        unsafe bufferevent_trigger(socket, Int16(EV_WRITE), Self.deferred)
        return true
    }

    /// Before the filter is freed: libevent frees the rest when the loop turns, and the callback would
    /// bring a filter back to life that is being freed.
    @unsafe func removeFilterCallback() {
        guard isFiltered else { return }
        unsafe evbuffer_remove_cb(
            socketOutput, Self.socketOutputChanged, UnsafeMutableRawPointer(pointer))
    }

    private static var socketOutputChanged: evbuffer_cb_func {
        { _, change, filter in
            guard let change = unsafe change?.pointee, let filter = OpaquePointer(filter)
            else { return }
            if change.n_deleted > 0 {
                unsafe bufferevent_trigger(filter, Int16(EV_WRITE), BufferEvent.deferred)
            } else if change.orig_size + change.n_added > BufferEvent.floodLimit {
                errno = ENOBUFS
                let what = Int16(BEV_EVENT_ERROR | BEV_EVENT_WRITING)
                unsafe bufferevent_trigger_event(filter, what, BufferEvent.deferred)
            }
        }
    }

    /// The `SSL`, lent; nil without a filter.
    @unsafe var session: OpaquePointer? {
        unsafe isFiltered ? bufferevent_openssl_get_ssl(pointer) : nil
    }

    /// Puts close_notify behind what was written. Once only, and with nothing left to encrypt.
    func sendCloseNotify() {
        guard let session = unsafe session else { return }
        unsafe SSL_shutdown(session)
        // Else the next session on this thread would be told of an error of this one.
        ERR_clear_error()
    }

    /// What OpenSSL said that made the filter fail; nil when it wasn't OpenSSL that failed.
    func takeTLSFailure() -> String? {
        guard isFiltered else { return nil }
        // Last first; the first is the kind of failure (`SSL_get_error`), and behind it the errors
        // with the oldest, which the others follow from, in front.
        var codes: [UInt] = []
        while case let code = unsafe bufferevent_get_openssl_error(pointer), code != 0 {
            codes.append(code)
        }
        guard !codes.isEmpty else { return nil }
        return OpenSSLErrors.reason(of: codes.dropLast().last ?? 0)
    }

    /// Gives the kernel what it takes of the output, now: the alert that says why a session failed.
    func sendAtOnce() {
        guard isFiltered else { return }
        // libevent freezes the front of the output, so that only its own writes take from it.
        unsafe evbuffer_unfreeze(socketOutput, 1)
        unsafe evbuffer_write(socketOutput, descriptor)
        unsafe evbuffer_freeze(socketOutput, 1)
    }

    /// Frees the segment that the filter reserved for a read that brought nothing: 4 KiB that an idle
    /// session would keep.
    func releaseEmptyInput() {
        guard isFiltered, inputCount == 0 else { return }
        let input = unsafe input
        // Draining an empty buffer does nothing; draining its last octet frees all of it.
        unsafe evbuffer_add(input, "\n", 1)
        unsafe evbuffer_drain(input, 1)
    }
}
