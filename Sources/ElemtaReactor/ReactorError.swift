import Glibc

/// A system or libevent call that failed: which one, and `errno`. Or a TLS session that did.
public struct ReactorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, as its manual page is named: `bind`, `accept4`, `bufferevent_socket_new`.
    ///
    /// `TLS handshake` and `TLS` are what went wrong before and after a session stood.
    public let operation: String
    /// `errno` as the call left it; `EPROTO` where TLS failed.
    public let code: Int32
    /// What OpenSSL says that went wrong; nil where `code` says it.
    public let reason: String?

    public init(_ operation: String, code: Int32, reason: String? = nil) {
        self.operation = operation
        self.code = code
        self.reason = reason
    }

    /// The failure of the call just made: reads `errno`, so nothing may come in between.
    static func current(_ operation: String) -> ReactorError {
        ReactorError(operation, code: errno)
    }

    public var description: String {
        if let reason { return "\(operation): \(reason)" }
        // Safe because 128 octets are lent for the call, which ends what it writes with a NUL.
        let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let start = buffer.baseAddress,
                unsafe strerror_r(code, start, buffer.count) == 0
            else { return "errno \(code)" }
            return unsafe String(cString: start)
        }
        return "\(operation): \(text)"
    }
}
