import ElemtaConfiguration

/// How long a client may take (RFC 5321 4.5.3.2).
struct SessionTimeouts {
    /// Since its last complete command.
    let command: Duration
    /// Without progress in mail data.
    let data: Duration
    /// From MAIL to the end of data.
    let transaction: Duration
    /// From the greeting to the last transaction's beginning, however busy the session is.
    let session: Duration
    /// Before the greeting, for clients that aren't known.
    let greeting: Duration
    /// For a TLS handshake, and for the header of the PROXY protocol.
    let handshake = Duration.seconds(30)

    init(_ limits: Configuration.Limits) {
        command = .seconds(limits.commandTimeout)
        data = .seconds(limits.dataTimeout)
        transaction = .seconds(limits.transactionTimeout)
        greeting = .seconds(limits.greetDelay)
        session = .seconds(limits.sessionTimeout)
    }
}
