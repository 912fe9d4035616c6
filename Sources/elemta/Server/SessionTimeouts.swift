import ElemtaConfiguration

/// How long a client may take (RFC 5321 4.5.3.2).
struct SessionTimeouts {
    /// Since its last complete command.
    let command: Duration
    /// Without progress in mail data.
    let data: Duration
    /// From MAIL to the end of data.
    let transaction: Duration

    init(_ limits: Configuration.Limits) {
        command = .seconds(limits.commandTimeout)
        data = .seconds(limits.dataTimeout)
        transaction = .seconds(limits.transactionTimeout)
    }
}
