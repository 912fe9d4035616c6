public import ElemtaSMTP

/// What an operator does to queued messages.
public enum QueueOperation: Hashable, Sendable {
    /// Due now. A failed message that is still there gets another attempt.
    case retry
    /// Nothing is tried until it is released. What is with a worker runs to its end.
    case hold
    case release
    /// Gone, without a report to anybody.
    case delete
}

/// Where a message stands, in one word.
public enum QueueState: String, Hashable, Sendable, CaseIterable {
    /// Due or being delivered.
    case active
    /// Waiting for its next attempt.
    case deferred
    case hold
    /// Nothing left to deliver, some recipients failed: kept to be looked at.
    case failed
}

/// Which messages are meant.
public enum QueueSelection: Hashable, Sendable {
    case ids([MessageID])
    case all
    /// With a pending or failed recipient in this domain.
    case domain(Domain)
    /// From this reverse-path.
    case sender(ReversePath)
    case state(QueueState)
}

/// One line of `queue list`.
public struct MessageSummary: Hashable, Sendable {
    public let id: MessageID
    public let arrival: UnixTime
    public let octets: UInt64
    public let reversePath: ReversePath
    public let state: QueueState
    /// Recipients in all, and those still pending.
    public let recipientCount: Int
    public let pendingCount: Int
    /// The first recipient that isn't delivered, or the first.
    public let recipient: ForwardPath?
    /// The earliest next attempt of a pending recipient; nil: at once, or none.
    public let nextAttempt: UnixTime?
    /// Why it is still here.
    public let reason: DeliveryStatus?
}

/// How far an operation has come: examined so far, changed so far.
public struct OperationProgress: Hashable, Sendable {
    public var examined = 0
    public var changed = 0
    /// No further call will come.
    public var isFinished = false
    public var failure: SpoolError?

    public init() {}
}

/// The queue in numbers.
public struct SpoolStatistics: Hashable, Sendable {
    public var messages = 0
    /// Octets of content.
    public var octets: UInt64 = 0
    /// Work items handed out and not answered yet; 0 on a stopped server.
    public var outstanding = 0
    public var held = 0
    public var failed = 0
    /// Destinations that can't be reached at the moment; 0 on a stopped server.
    public var unreachable = 0
    /// Octets of `spool.mdb`.
    public var fileOctets: UInt64 = 0

    public init() {}
}

extension MessageSummary {
    /// What the envelope says about the message, seen from there.
    public init(_ envelope: Envelope, _ sight: QueueSight) {
        id = envelope.id
        arrival = envelope.arrival
        octets = envelope.contentOctets
        reversePath = envelope.reversePath
        let pending = envelope.recipients.filter(\.state.isPending)
        recipientCount = envelope.recipients.count
        pendingCount = pending.count
        state = envelope.state(sight)
        let remaining =
            pending.first ?? envelope.recipients.first { $0.state.isFailed }
            ?? envelope.recipients.first
        recipient = remaining?.path
        nextAttempt = envelope.nextAttempt(sight)
        let obstacle = remaining.flatMap { sight.obstacle(to: $0, of: envelope) }
        reason =
            switch remaining?.state {
            case .pending(_, _, let reason): obstacle?.reason ?? reason
            case .failed(let status), .delivered(let status): status
            case nil: nil
            }
    }
}

extension Envelope {
    /// When the first pending recipient is tried, or the destination of one that is due is probed;
    /// nil: at once, or nobody is pending.
    func nextAttempt(_ sight: QueueSight) -> UnixTime? {
        var earliest: UnixTime?
        for recipient in recipients {
            guard case .pending(_, let due, _) = recipient.state else { continue }
            let obstacle = sight.obstacle(to: recipient, of: self)
            guard let next = obstacle.map(\.nextProbe) ?? due else { return nil }
            earliest = earliest.map { min($0, next) } ?? next
        }
        return earliest
    }

    /// Where the message stands, seen from there.
    public func state(_ sight: QueueSight) -> QueueState {
        guard hasPendingRecipients else { return .failed }
        if isHeld { return .hold }
        let isActive = recipients.contains {
            $0.isDue(at: sight.now) && sight.obstacle(to: $0, of: self) == nil
        }
        return isActive ? .active : .deferred
    }

    /// Whether the message belongs to the selection, seen from there.
    public func matches(_ selection: QueueSelection, _ sight: QueueSight) -> Bool {
        switch selection {
        case .all: true
        case .ids(let ids): ids.contains(id)
        case .sender(let path): reversePath == path
        case .state(let wanted): state(sight) == wanted
        case .domain(let domain):
            recipients.contains { recipient in
                switch recipient.state {
                case .delivered: false
                case .pending, .failed: recipient.path.mailbox?.domain == domain
                }
            }
        }
    }
}
