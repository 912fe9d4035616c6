public import ElemtaSMTP

/// Why nothing is tried at a destination now: it can't be reached, and mail for it waits until one
/// message has found out that it is back.
public struct DestinationObstacle: Hashable, Sendable {
    /// What the last attempt came to.
    public let reason: DeliveryStatus
    /// When the next message is sent to find out; nil: it is on its way.
    public let nextProbe: UnixTime?
}

/// When, and past which obstacles, queued messages are looked at.
public struct QueueSight: Sendable {
    public let now: UnixTime
    private let obstacles: [Destination: DestinationObstacle]
    private let dispatch: (any DeliveryDispatch)?

    /// The queue of a server that delivers nothing.
    public init(now: UnixTime) {
        self.init(now: now, obstacles: [:], dispatch: nil)
    }

    init(
        now: UnixTime, obstacles: [Destination: DestinationObstacle],
        dispatch: (any DeliveryDispatch)?
    ) {
        self.now = now
        self.obstacles = obstacles
        self.dispatch = dispatch
    }

    /// What keeps a recipient from being tried that is due by its own schedule.
    public func obstacle(
        to recipient: QueuedRecipient, of envelope: Envelope
    ) -> DestinationObstacle? {
        guard !obstacles.isEmpty, let dispatch, recipient.isDue(at: now) else { return nil }
        return obstacles[
            dispatch.destination(for: recipient.path, demand: envelope.transportDemand)]
    }
}

extension QueuedRecipient {
    /// By its own schedule.
    func isDue(at now: UnixTime) -> Bool {
        guard case .pending(_, let next, _) = state else { return false }
        return next.map { $0 <= now } ?? true
    }
}
