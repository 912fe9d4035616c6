import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// What keeps a message that could go from going now: no connection is free, no descriptor is to be
/// had, its destination has had as many as it may.
extension DeliveryWorker {
    /// How long nothing is opened after a descriptor wasn't to be had. No attempt is used up.
    static let shortagePause = Duration.seconds(1)

    var hasRoom: Bool { table.count + racerCount < maximumConnections && shortage == nil }

    /// `queue` is served again when there is room.
    func waitForRoom(_ queue: DestinationQueue) {
        guard !queue.isWaitingForRoom else { return }
        queue.isWaitingForRoom = true
        line.join(queue.destination, queue.standing.isSilent ? .second : .first)
        expectPlaces(at: now)
    }

    func beginShortage() {
        guard shortage == nil else { return }
        shortage = loop.after(Self.shortagePause) { [unowned self] in
            shortage = nil
            serveThoseWaiting()
        }
    }

    /// A connection couldn't be tried, for want of a socket. Its mail waits here.
    func hadNoDescriptor(_ connection: ClientConnection) {
        let queue = connection.queue
        endOpening(connection)
        beginShortage()
        if !queue.items.isEmpty { waitForRoom(queue) }
        remove(connection)
        afterRemoval(of: connection)
    }

    // MARK: Rates

    /// Whether what was sent lately limits what may be sent soon: then it isn't forgotten yet.
    func isRemembered(_ queue: DestinationQueue) -> Bool {
        guard let end = queue.rate?.end, end > now else { return false }
        if queue.rateTimer == nil {
            queue.rateTimer = loop.after(end - now) { [unowned self, unowned queue] in
                queue.rateTimer = nil
                forgetIfUnused(queue)
            }
        }
        return true
    }

    /// Whether no message may go to the destination now; then it is served again when one may.
    func isHeldBack(_ queue: DestinationQueue) -> Bool {
        guard let next = queue.rate?.nextBeginning(at: now) else { return false }
        if queue.isHeldBackUntil != next {
            queue.isHeldBackUntil = next
            queue.rateTimer = loop.after(next - now) { [unowned self, unowned queue] in
                queue.rateTimer = nil
                queue.isHeldBackUntil = nil
                serve(queue)
            }
        }
        return true
    }

    // MARK: Content

    func prepare(
        _ job: DeliveryJob, inSevenBits: Bool, for connection: ClientConnection
    ) {
        guard let id = connection.id else { return }
        requestPreparation(id, job, inSevenBits)
    }

    /// The content can't be had, for a reason of ours.
    func contentFailed(_ job: DeliveryJob, _ error: SpoolError, of queue: DestinationQueue) {
        switch error {
        case .noDescriptors:
            beginShortage()
            returnItem(of: job, to: queue)
        case .unknownMessage, .stopped: notAttempted(job.item, of: queue)
        default: unreadable(job.item, of: queue, error)
        }
    }

    /// The connection came to its end before anything was said about its first message.
    func lost(_ job: DeliveryJob, _ failure: ClientFailure, over connection: ClientConnection) {
        let reason = FailureReason(failure, with: connection.target)
        let result = RecipientResult.deferred(reason.status)
        answer(
            DeliveryOutcome(
                id: job.item.id, destination: connection.queue.destination, results: .all(result)))
        tell(job, of: nil, result, false, over: connection)
    }
}
