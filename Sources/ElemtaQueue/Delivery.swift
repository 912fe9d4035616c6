public import ElemtaSMTP

/// Where recipients go together: the name of a next hop, such as "smtp:example.com" or "discard".
public struct Destination: Hashable, Sendable, CustomStringConvertible {
    public let name: String

    public init(name: String) { self.name = name }

    public var description: String { name }
}

/// What the sender asks of the way that a message goes (RFC 8689).
public enum TransportDemand: Hashable, Sendable {
    case none
    /// REQUIRETLS: over verified TLS, to servers that promise the same, or back to the sender.
    case tls
    /// `TLS-Required: No`: rather in clear than not at all.
    case delivery
}

/// Which recipients of a message a piece of work is about.
public enum RecipientSelection: Hashable, Sendable {
    /// All whose state is pending, so many: there is one destination for all of them.
    case allPending(UInt32)
    /// Those at these indices of `Envelope.recipients`.
    case indices([UInt32])

    /// How many these are.
    public var count: Int {
        switch self {
        case .allPending(let count): Int(count)
        case .indices(let indices): indices.count
        }
    }
}

/// One message to be delivered to one destination. Whoever gets it answers with exactly one
/// `DeliveryOutcome` for the same id and destination; until then the item stays out.
public struct WorkItem: Hashable, Sendable {
    public let id: MessageID
    public let destination: Destination
    /// Octets of content, for those who plan.
    public let octets: UInt64
    public let recipients: RecipientSelection

    public init(
        id: MessageID, destination: Destination, octets: UInt64,
        recipients: RecipientSelection
    ) {
        self.id = id
        self.destination = destination
        self.octets = octets
        self.recipients = recipients
    }
}

/// What came of a delivery for one recipient.
public enum RecipientResult: Hashable, Sendable {
    /// In the mailbox (LMTP, maildir, discard): a success report is ours to make, if asked for.
    case delivered(DeliveryStatus)
    /// Taken by an SMTP server. `reportsFollow`: it offers DSN, so that a success report is its
    /// business; otherwise a "relayed" report is ours, if asked for (RFC 3461 5.2.2).
    case relayed(DeliveryStatus, reportsFollow: Bool)
    /// A transient failure: tried again by the retry schedule.
    case deferred(DeliveryStatus)
    /// A permanent failure.
    case failed(DeliveryStatus)
    /// Nothing was tried (the worker stops, or had no room): costs no attempt, due at once.
    case notAttempted
}

/// The answer to one `WorkItem`.
public struct DeliveryOutcome: Sendable {
    public enum Results: Sendable {
        /// The same for every recipient of the item.
        case all(RecipientResult)
        /// One for each, by index into `Envelope.recipients`. A recipient of the item that isn't
        /// named counts as not attempted; one that isn't the item's is ignored.
        case each([(recipient: UInt32, result: RecipientResult)])
        /// The destination can't be reached now, or serves nobody: nothing was said about this
        /// message. The first such answer counts as an attempt; whatever else is for the
        /// destination then waits for one message at a time to find out whether it is back.
        case unreached(DeliveryStatus)
    }

    public let id: MessageID
    public let destination: Destination
    public let results: Results

    public init(id: MessageID, destination: Destination, results: Results) {
        self.id = id
        self.destination = destination
        self.results = results
    }

    public init(_ item: WorkItem, _ results: Results) {
        self.init(id: item.id, destination: item.destination, results: results)
    }
}

/// Who delivers: implemented by ElemtaDelivery.
public protocol DeliveryDispatch: AnyObject, Sendable {
    /// Where a recipient of a message that makes this demand goes: pure, cheap, called on any
    /// thread.
    func destination(for recipient: ForwardPath, demand: TransportDemand) -> Destination

    /// Takes work that is due. Called on the spool thread; must not block and must not throw work
    /// away: each item is answered through `Spool.record`.
    func deliver(_ work: [WorkItem])
}
