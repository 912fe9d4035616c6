import ElemtaConfiguration
import ElemtaReactor

/// How long a client may take, nanoseconds (RFC 5321 4.5.3.2).
struct SessionTimeouts {
    /// Since its last complete command.
    let command: UInt64
    /// Without progress in mail data.
    let data: UInt64
    /// From MAIL to the end of data.
    let transaction: UInt64

    init(_ limits: Configuration.Limits) {
        command = UInt64(limits.commandTimeout) * 1_000_000_000
        data = UInt64(limits.dataTimeout) * 1_000_000_000
        transaction = UInt64(limits.transactionTimeout) * 1_000_000_000
    }
}

extension MonotonicTime {
    func adding(nanoseconds: UInt64) -> MonotonicTime {
        MonotonicTime(nanoseconds: self.nanoseconds &+ nanoseconds)
    }
}
