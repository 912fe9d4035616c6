/// What the driver tells a session besides the client's octets.
extension ServerSession {
    // MARK: Time

    /// The client took too long (RFC 5321 4.5.3.2).
    public mutating func timedOut() -> Action { end(.timedOut) }

    /// The session as a whole took too long, however busy it was.
    public mutating func lastedTooLong() -> Action { end(.lastedTooLong) }

    /// Octets came before the greeting was sent: whoever doesn't wait for it talks to many and
    /// listens to none. Postfix's postscreen and Exim refuse such a client in the same way.
    public mutating func spokeFirst() -> Action { end(.spokeFirst) }

    /// The server stops. Nil while a transaction runs or an answer is owed: ask again after it.
    public mutating func shuttingDown() -> Action? {
        switch phase {
        case .idle, .refusedChunks, .authenticating, .delayed(.reply), .delayed(.close), .handshake:
            end(.shuttingDown)
        case .transaction, .data, .chunks, .chunk, .skippedChunk, .delayed(.recipient), .asking,
            .closed:
            nil
        }
    }

    /// The server stops now, in the middle of whatever it is (RFC 5321 3.8).
    public mutating func cutOff() -> Action { end(.shuttingDown) }

    /// In the middle of a handshake a reply would be noise.
    private mutating func end(_ reply: Reply) -> Action {
        switch phase {
        case .handshake: close(nil)
        case .idle, .transaction, .data, .chunks, .chunk, .refusedChunks, .skippedChunk,
            .authenticating, .delayed, .asking, .closed:
            close(reply)
        }
    }

    // MARK: TLS

    /// STARTTLS, RFC 3207 4.
    mutating func startTLS(hasArgument: Bool) -> Action {
        if tls != nil { return refuse(.alreadyInsideTLS) }
        switch parameters.offer.tls {
        case .off, .implicit: return refuse(.notImplemented)
        case .startTLS: break
        }
        if hasArgument { return refuse(.noArgumentAllowed) }
        if isInTransaction { return refuse(.notInTransaction) }
        phase = .handshake
        return .startTLS(.readyForTLS)
    }

    /// The handshake is done. The session knows nothing from before it (RFC 3207 4.2).
    public mutating func tlsEstablished(_ summary: TLSSummary) {
        guard case .handshake = phase else { return }
        begin(summary)
    }

    /// The handshake can't begin; called instead of sending the reply of `Action.startTLS`.
    public mutating func refuseTLS(_ refusal: TLSRefusal) -> Action {
        guard case .handshake = phase else { return .none }
        switch refusal {
        case .octetsWaiting:
            // Read as commands they would be taken for the client's, inside TLS.
            return close(.octetsBehindStartTLS)
        case .unavailable:
            phase = .idle
            return refuse(.tlsUnavailable)
        }
    }
}
