public import ElemtaSMTP

/// Where a message came from: what a report, `queue show` and the log say about its client.
public struct ClientTrace: Hashable, Sendable {
    /// The argument of HELO or EHLO.
    public var heloName: [UInt8]
    /// Nil for a message made here, such as a report.
    public var address: IPAddress?
    /// The WITH name of the trace field (RFC 3848): "ESMTP", "UTF8SMTP"...; empty when made here.
    public var protocolName: String
    /// Who the client authenticated as.
    public var user: String?

    public init(
        heloName: [UInt8] = [], address: IPAddress? = nil, protocolName: String = "",
        user: String? = nil
    ) {
        self.heloName = heloName
        self.address = address
        self.protocolName = protocolName
        self.user = user
    }
}

/// Everything the spool knows about a message beside its content.
public struct Envelope: Hashable, Sendable {
    public var id: MessageID
    /// When the message was accepted; retries end `maximumQueueTime` after it.
    public var arrival: UnixTime
    public var client: ClientTrace
    public var reversePath: ReversePath
    public var parameters: MailParameters
    public var summary: ContentSummary
    /// In the order in which they were accepted; an index into this names a recipient for good.
    public var recipients: [QueuedRecipient]
    /// Octets of content as they will be sent, trace field included. The spool sets it.
    public var contentOctets: UInt64
    /// Held by an operator: nothing is tried until it is released.
    public var isHeld: Bool
    /// The attempts so far, oldest first, an entry for each thing that the next hop said in one. The
    /// first and the latest are kept when there are more than `attemptLimit`.
    public var attempts: [DeliveryAttempt]

    public init(
        id: MessageID, arrival: UnixTime, client: ClientTrace, transaction: MailTransaction,
        summary: ContentSummary
    ) {
        self.id = id
        self.arrival = arrival
        self.client = client
        self.reversePath = transaction.reversePath
        self.parameters = transaction.parameters
        self.summary = summary
        self.recipients = transaction.recipients.map { recipient in
            QueuedRecipient(
                path: recipient.path, notify: recipient.notify,
                originalRecipient: recipient.originalRecipient)
        }
        contentOctets = summary.octetCount
        isHeld = false
        attempts = []
    }

    /// Entries of `attempts` that are kept of a message.
    public static let attemptLimit = 80

    /// Adds an attempt, leaving out the second oldest when there are too many.
    mutating func note(_ attempt: DeliveryAttempt) {
        if attempts.count >= Self.attemptLimit { attempts.remove(at: 1) }
        attempts.append(attempt)
    }

    /// What became of REQUIRETLS and `TLS-Required: No`. The former makes the latter mean nothing
    /// (RFC 8689 4.1). Our own report with REQUIRETLS isn't lost for want of it (RFC 8689 5): it is
    /// said where it can be, and demands nothing.
    public var transportDemand: TransportDemand {
        let isReport = reversePath == .null && client.address == nil
        if parameters.requireTLS { return isReport ? .none : .tls }
        return summary.traits.contains(.tlsNotRequired) ? .delivery : .none
    }

    /// Adds an alias that several of the recipients stand for, and whose sender wants to hear that
    /// it arrived: the report "expanded" (RFC 3461 5.2.7.3) is made when the message is accepted.
    public mutating func note(expanded alias: AcceptedRecipient, to count: Int) {
        let status = DeliveryStatus(
            enhancedStatus: EnhancedStatus(.success, 1, 5),
            text: Array("expanded to \(count) mailboxes".utf8))
        recipients.append(
            QueuedRecipient(
                path: alias.path, notify: .success, originalRecipient: alias.originalRecipient,
                state: .delivered(status)))
    }

    /// What is to be reported of a message that has just come: its expanded aliases.
    var reportsAtArrival: [ReportedRecipient] {
        recipients.compactMap { recipient in
            guard case .delivered(let status) = recipient.state,
                recipient.notify.contains(.success)
            else { return nil }
            return ReportedRecipient(recipient: recipient, action: .expanded, status: status)
        }
    }

    var hasPendingRecipients: Bool { recipients.contains { $0.state.isPending } }
    var hasFailedRecipients: Bool { recipients.contains { $0.state.isFailed } }
}

/// One recipient of a queued message and how far it has come.
public struct QueuedRecipient: Hashable, Sendable {
    public let path: ForwardPath
    /// Empty when NOTIFY was absent: then failures are reported (RFC 3461 4.1).
    public let notify: NotifyConditions
    public let originalRecipient: OriginalRecipient?
    public var state: RecipientState
    /// The sender has been told that this takes long.
    public var delayReported = false

    public init(
        path: ForwardPath, notify: NotifyConditions = [],
        originalRecipient: OriginalRecipient? = nil,
        state: RecipientState = .pending(attempts: 0, nextAttempt: nil, lastReason: nil)
    ) {
        self.path = path
        self.notify = notify
        self.originalRecipient = originalRecipient
        self.state = state
    }
}

public enum RecipientState: Hashable, Sendable {
    /// Still to be delivered. `nextAttempt` is nil before the first attempt: at once.
    case pending(attempts: UInt32, nextAttempt: UnixTime?, lastReason: DeliveryStatus?)
    /// Delivered or passed on: nothing is left to do.
    case delivered(DeliveryStatus)
    /// Given up; the sender has been told unless told not to be.
    case failed(DeliveryStatus)

    public var isPending: Bool {
        switch self {
        case .pending: true
        case .delivered, .failed: false
        }
    }

    public var isFailed: Bool {
        switch self {
        case .failed: true
        case .pending, .delivered: false
        }
    }
}

/// What the next hop, or whatever stood in its way, said.
public struct DeliveryStatus: Hashable, Sendable {
    /// The SMTP reply code; 0 when there was no reply (no connection, no such domain).
    public var code: UInt16
    /// RFC 3463; nil when the reply carried none.
    public var enhancedStatus: EnhancedStatus?
    /// The remote's words, or ours when nobody answered. Any octets: escape before printing.
    public var text: [UInt8]
    /// The host that answered, such as "mx1.example.com [192.0.2.1]"; empty when none did.
    public var nextHop: String
    /// How the session with that host was protected: protocol, cipher, and how the host was verified,
    /// or that it was in clear; empty when there was no session.
    public var security: String

    /// Octets of `text` that are kept.
    public static let textLimit = 1024

    public init(
        code: UInt16 = 0, enhancedStatus: EnhancedStatus? = nil, text: [UInt8] = [],
        nextHop: String = "", security: String = ""
    ) {
        self.code = code
        self.enhancedStatus = enhancedStatus
        self.text = text.count > Self.textLimit ? Array(text.prefix(Self.textLimit)) : text
        self.nextHop = nextHop
        self.security = security
    }
}

/// One attempt to deliver a message to one destination.
public struct DeliveryAttempt: Hashable, Sendable {
    public var time: UnixTime
    public var destination: String
    /// To how many recipients the words were said, by what came of it for them.
    public var delivered: UInt32
    public var deferred: UInt32
    public var failed: UInt32
    public var status: DeliveryStatus
}
