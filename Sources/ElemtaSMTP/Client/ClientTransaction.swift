/// One mail transaction as the client is to carry it out: the recipients of one message that one
/// destination serves.
public struct ClientTransaction: Sendable {
    public let reversePath: ReversePath
    public let parameters: MailParameters
    public let recipients: [AcceptedRecipient]
    /// What the content is like; decides how it can be sent.
    public let content: ContentSummary
    /// Nothing follows RCPT: all that is wanted is what the server says of the recipients, and
    /// `.accepted` means no more than its word.
    public var endsBeforeContent = false

    public init(
        reversePath: ReversePath, parameters: MailParameters, recipients: [AcceptedRecipient],
        content: ContentSummary
    ) {
        self.reversePath = reversePath
        self.parameters = parameters
        self.recipients = recipients
        self.content = content
    }
}

/// How the driver puts the content on the wire.
public enum ContentTransfer: Hashable, Sendable {
    /// Through a `DataEncoder`, its terminator at the end.
    case data
    /// `command` (one BDAT with LAST), then the octets as they are (RFC 3030 2).
    case chunk(command: [UInt8])
}

/// What became of one recipient.
public enum RecipientVerdict: Hashable, Sendable {
    /// The server has taken responsibility.
    case accepted(RemoteReply)
    case deferred(ClientFailure)
    case failed(ClientFailure)
}

/// Where in the dialogue something happened; what the driver's deadlines depend on (RFC 5321
/// 4.5.3.2).
public enum ClientStage: Hashable, Sendable {
    case greeting, hello
    /// The reply to STARTTLS is owed.
    case startTLS
    case handshake
    /// Under way to being logged in (RFC 4954).
    case login
    /// No command is under way.
    case idle
    case mail, recipient, data
    /// Content is being sent.
    case content
    /// All content is sent and its reply owed: if the connection is lost here nobody knows whether
    /// the server has the message.
    case endOfData
    case quit, closed
}

/// Why a transaction or a connection came to nothing.
public enum ClientFailure: Error, Hashable, Sendable {
    /// The server's own words.
    case reply(RemoteReply, ClientStage)
    /// What the server sent is no reply, or none to what was asked.
    case protocolError(ReplyError, ClientStage)
    case timedOut(ClientStage)
    case connectionLost(ClientStage)
    /// The driver could not go on, for a reason of its own.
    case abandoned(String)
    /// The message can't be sent to a server that offers what this one does.
    case unsendable(Obstacle)
    /// The connection isn't as secure as the policy wants it.
    case tls(TLSFailure, ClientTLSPolicy)
    case login(LoginFailure)

    public enum Obstacle: Hashable, Sendable {
        /// Larger than the SIZE offered (RFC 1870 6.1): 5.3.4.
        case tooLarge(limit: UInt64)
        /// An internationalized address or header field, and no SMTPUTF8 (RFC 6531 3.2): 5.6.7.
        case needsSMTPUTF8
        /// Octets beyond ASCII, and no 8BITMIME (RFC 6152 3): 5.6.3.
        case needsEightBitMIME
        /// A bare CR or bare LF, and no CHUNKING (RFC 3030 2): 5.6.3.
        case needsChunking
        /// It came with REQUIRETLS, and the connection isn't one for such messages (RFC 8689 4.2.1):
        /// 5.7.30.
        case needsRequireTLS
    }

    /// Whether trying again is pointless.
    public var isPermanent: Bool {
        switch self {
        case .reply(let reply, let stage):
            // RFC 5321 4.5.3.1.10: 552 to RCPT meant "too many recipients" once and is taken for 452.
            reply.isPermanent && !(stage == .recipient && reply.code == 552)
        case .protocolError, .timedOut, .connectionLost, .abandoned: false
        case .unsendable: true
        // Another policy's mail waits for the server to be mended; RFC 8689 4.2.1 tells the sender.
        case .tls(let failure, let policy): policy == .requireTLS && failure.isLasting
        // The fault is ours or the next hop's, never the message's.
        case .login: false
        }
    }
}

/// How a transaction ended.
public struct TransactionResult: Sendable {
    /// One for each recipient, in the order of `ClientTransaction.recipients`.
    public let verdicts: [RecipientVerdict]
    /// The connection was lost, or the wait given up, after all content was sent: the server may
    /// have the message all the same.
    public let mayBeDuplicated: Bool
    /// The connection ended before the server answered anything of this transaction: nothing is
    /// known against the message, and another connection may be tried at once.
    public let isUntried: Bool
}
