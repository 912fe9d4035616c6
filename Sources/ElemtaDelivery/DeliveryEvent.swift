public import ElemtaQueue
public import ElemtaReactor
public import ElemtaSMTP

/// What became of one recipient, or of several of a message where none had an answer of its own: for
/// the log and the counters. Made on whichever thread knows it.
public struct DeliveryEvent: Sendable {
    public enum Outcome: Sendable {
        case delivered, deferred, failed
        /// Deferred, though the server may have the message: the connection was lost after the
        /// final dot.
        case possiblyDuplicated
        /// Deferred: the relay host doesn't let us log in, and somebody has to see to it.
        case loginFailed
    }

    /// How the connection to the next hop is protected.
    public enum Channel: Hashable, Sendable {
        /// Not at all; `cause`: what became of TLS where it was tried, in the last minutes.
        case clear(cause: String?)
        case tls(TLSDescription)

        /// For an operator.
        var words: String {
            switch self {
            case .clear(cause: nil): "in clear"
            case .clear(let cause?): "in clear: \(cause)"
            case .tls(let description):
                "\(description.protocolName) \(description.cipherName), "
                    + (description.verificationProblem.map { "certificate not verified: \($0)" }
                        ?? "certificate verified")
            }
        }
    }

    public let id: MessageID
    /// Nil: `recipientCount` recipients that go to the destination together.
    public let recipient: ForwardPath?
    /// How many recipients it is about: 1 where `recipient` says which.
    public let recipientCount: Int
    public let destination: Destination
    /// The name of the next hop's host, as far as one was reached.
    public let host: String?
    public let address: SocketAddress?
    /// Nil: there was no session with a server.
    public let channel: Channel?
    public let outcome: Outcome
    /// The server's words, or ours.
    public let status: DeliveryStatus
    /// From the beginning of the transaction.
    public let duration: Duration
}
