import CLibevent
import COpenSSL
import Glibc

extension Connection {
    /// One record (RFC 8446 5.1) and one segment.
    private static let recordLimit = Segments.payload
    /// So much waits encrypted for the socket at most, and a record more.
    private static let encryptedLimit = 32 * 1024

    // MARK: Beginning

    /// Makes the connection a TLS one, as the server of it: at once after accepting it, or after a
    /// reply that says so, which is sent first and in clear. ``ConnectionEvent/tlsEstablished``
    /// follows, or ``ConnectionEvent/failed(_:)`` with the operation `TLS handshake`; nothing bounds
    /// the time but the owner, who may close at any time.
    ///
    /// Returns how many octets were in the input, and drops them: they came in clear, perhaps from
    /// somebody between us and the client (CVE-2011-0411). Not to be called inside ``withInput(_:)``.
    /// What is written from now on is sent encrypted once the session stands.
    ///
    /// `isInputEncrypted`: TLS was spoken from the connection's first octet on, and what is in the input
    /// is the beginning of the handshake; nothing is dropped.
    ///
    /// Memory for the session is taken once the client has said how long its ClientHello is; one of more
    /// than ``ClientHelloHead/longestHello`` octets fails the handshake.
    ///
    /// Throws `ENOTCONN` when the connection isn't open or its peer has ended, `EISCONN` when TLS has
    /// begun before.
    @discardableResult
    public func startTLS(
        server context: TLSServerContext, isInputEncrypted: Bool = false
    ) throws(ReactorError) -> Int {
        try checkReadyForTLS()
        sendsAtOnce = false
        let dropped = isInputEncrypted ? 0 : dropInput()
        security = TLSLayer(.server(context), isDrainOwed: unsentCount > 0)
        reading = .on
        stream?.enableReading()
        if inputCount > 0 { stream?.scheduleReadCallback() }
        return dropped
    }

    /// Makes the connection a TLS one, as the client of the server called `name`: a host name, or an
    /// IP address, which is compared with the certificate but not sent. Otherwise as
    /// ``startTLS(server:isInputEncrypted:)``; throws `EINVAL` for what can't be a host's name.
    @discardableResult
    public func startTLS(client context: TLSClientContext, name: String) throws(ReactorError) -> Int
    {
        try checkReadyForTLS()
        sendsAtOnce = false
        guard let session = context.makeSession(name: name) else {
            ERR_clear_error()
            throw ReactorError("startTLS", code: EINVAL)
        }
        let dropped = dropInput()
        if case .full = reading { reading = .on }
        security = TLSLayer(.client(context), isDrainOwed: unsentCount > 0)
        try shakeHands(session, as: .connecting)
        return dropped
    }

    /// What the handshake agreed on; nil before it is done and once the connection is closed.
    public var tls: TLSDescription? {
        guard let security, case .established = security.progress,
            let session = unsafe stream?.session
        else { return nil }
        return unsafe TLSDescription(session)
    }

    private func checkReadyForTLS() throws(ReactorError) {
        precondition(!isInputLent, "startTLS inside withInput of the same connection")
        guard security == nil else { throw ReactorError("startTLS", code: EISCONN) }
        guard case .open = phase, isPeerSending, stream != nil else {
            throw ReactorError("startTLS", code: ENOTCONN)
        }
    }

    private func dropInput() -> Int {
        let count = inputCount
        discardInput()
        return count
    }

    /// The server's side, once enough of the ClientHello is there to judge it.
    func helloArrived() {
        guard let security, case .server(let context) = security.context else { return }
        let head = withInput { input in
            input.makeContiguous(ClientHelloHead.maximumOctets)
            return input.withFirstSegment { ClientHelloHead.parse($0) }
        }
        switch head {
        case .incomplete: return
        case .length(let length) where length > ClientHelloHead.longestHello:
            let reason = "the client announces a hello of \(length) octets"
            return failed(ReactorError("TLS handshake", code: EPROTO, reason: reason))
        case .length, .other: break
        }
        do throws(ReactorError) {
            guard let session = context.makeSession() else { throw noMemory("SSL_new") }
            security.progress = .handshake
            try shakeHands(session, as: .accepting)
        } catch {
            tell(.failed(error))
        }
    }

    private func shakeHands(
        _ session: consuming TLSSession, as role: BufferEvent.HandshakeRole
    ) throws(ReactorError) {
        guard stream?.startTLS(session, as: role, on: base) == true else {
            throw noMemory("bufferevent_openssl_filter_new")
        }
        installCallbacks()
    }

    private func noMemory(_ operation: String) -> ReactorError {
        ERR_clear_error()
        close()
        return ReactorError(operation, code: ENOMEM)
    }

    var isShakingHands: Bool {
        switch security?.progress {
        case .awaitingHello, .handshake: true
        case .established, .ended, nil: false
        }
    }

    var isAwaitingHello: Bool {
        if case .awaitingHello = security?.progress { true } else { false }
    }

    // MARK: Events

    /// Several may come at once, as libevent defers and gathers them.
    func securityHappened(_ what: Int32, code: Int32) {
        if what & BEV_EVENT_CONNECTED != 0 { return established() }
        if what & BEV_EVENT_ERROR != 0 { return securityFailed(what, code: code) }
        guard what & BEV_EVENT_EOF != 0 else { return }
        if isShakingHands, case .open = phase {
            let reason = "the peer closed the connection"
            return failed(ReactorError("TLS handshake", code: EPROTO, reason: reason))
        }
        stream?.disableReading()
        peerEnded()
    }

    private func established() {
        guard let security, isShakingHands else { return }
        security.progress = .established
        switch phase {
        case .open: tell(.tlsEstablished)
        case .flushing, .lingering: break
        case .connecting, .closed: return
        }
        switch reading {
        case .on: startReading()
        // libevent has had the socket read for the handshake, and would go on.
        case .paused, .full: stream?.disableReading()
        }
        outputSent()
    }

    private func securityFailed(_ what: Int32, code: Int32) {
        let operation = isShakingHands ? "TLS handshake" : "TLS"
        if let reason = failureReason() {
            stream?.sendAtOnce()
            failed(ReactorError(operation, code: EPROTO, reason: reason))
        } else if isShakingHands {
            failed(ReactorError(operation, code: code))
        } else {
            let isWriting = what & BEV_EVENT_WRITING != 0
            failed(ReactorError(isWriting ? "write" : "read", code: code))
        }
    }

    private func failureReason() -> String? {
        guard let reason = stream?.takeTLSFailure() else { return nil }
        guard let security, security.requiresVerification, isShakingHands,
            let session = unsafe stream?.session,
            let problem = unsafe TLSDescription.verificationFailure(of: session)
        else { return reason }
        return "\(reason): \(problem)"
    }

    // MARK: Output

    /// Encrypted when the loop turns: replies written one by one become one record.
    func wroteUnencrypted() {
        security?.oweDrain()
        wrote(true)
        stream?.scheduleWriteCallback()
    }

    /// Encrypts as much as the socket is likely to take now.
    func encrypt() {
        guard let security, case .established = security.progress else { return }
        guard let unencrypted = security.unencrypted else { return }
        while !unencrypted.isEmpty, let count = stream?.outputCount,
            count < Self.encryptedLimit, let output = unsafe stream?.output
        {
            do throws(ReactorError) {
                try unsafe unencrypted.give(atMost: Self.recordLimit, to: output)
            } catch {
                return failed(error)
            }
        }
        if unencrypted.isEmpty { security.dropOutput() }
    }

    /// Says, in the session, that nothing follows.
    func sendFarewell() {
        guard let security, case .established = security.progress else { return }
        security.progress = .ended
        stream?.sendCloseNotify()
    }
}
