import DequeModule
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// What the spool and the log are told.
extension DeliveryWorker {
    /// Keeps the outcome for the end of this turn of the loop: one commit of the spool for all.
    func answer(_ outcome: DeliveryOutcome) {
        outcomes.append(outcome)
        if flush == nil { flush = loop.after(.zero) { [unowned self] in flushOutcomes() } }
    }

    func flushOutcomes() {
        flush = nil
        guard !outcomes.isEmpty else { return }
        store.record(outcomes)
        outcomes.removeAll(keepingCapacity: true)
    }

    // MARK: Without a transaction

    /// All that waits gets the same answer: nobody could be asked. One of them has found that out
    /// when it may pass; the spool keeps the others until the destination is back.
    func giveUp(
        _ queue: DestinationQueue, _ reason: FailureReason, over connection: ClientConnection?
    ) {
        let (outcome, results): (DeliveryEvent.Outcome, DeliveryOutcome.Results) =
            switch reason.kind {
            case .permanent: (.failed, .all(.failed(reason.status)))
            case .transient: (.deferred, .unreached(reason.status))
            case .loginFailed: (.loginFailed, .unreached(reason.status))
            }
        var isFirst = true
        while let item = queue.items.popFirst() {
            answer(
                DeliveryOutcome(id: item.id, destination: queue.destination, results: results))
            guard isFirst || reason.isPermanent else { continue }
            isFirst = false
            events(
                DeliveryEvent(
                    id: item.id, recipient: nil, recipientCount: item.recipients.count,
                    destination: queue.destination, host: connection?.target.host,
                    address: connection?.target.address, channel: nil, outcome: outcome,
                    status: reason.status, duration: .zero))
        }
        forgetIfUnused(queue)
    }

    func notAttempted(_ item: DestinationQueue.Item, of queue: DestinationQueue) {
        answer(
            DeliveryOutcome(
                id: item.id, destination: queue.destination, results: .all(.notAttempted)))
    }

    func unreadable(
        _ item: DestinationQueue.Item, of queue: DestinationQueue, _ error: SpoolError
    ) {
        let reason = FailureReason(unreadable: error)
        answer(
            DeliveryOutcome(
                id: item.id, destination: queue.destination, results: .all(reason.result)))
        events(
            DeliveryEvent(
                id: item.id, recipient: nil, recipientCount: item.recipients.count,
                destination: queue.destination, host: nil, address: nil, channel: nil,
                outcome: .deferred, status: reason.status, duration: .zero))
    }

    /// The grace time is over in the middle of a message.
    func giveBack(_ job: DeliveryJob, over connection: ClientConnection, mayBeDuplicated: Bool) {
        answer(job.outcome(for: connection.queue.destination))
        guard mayBeDuplicated else { return }
        let reason = FailureReason(.abandoned("shutting down"), with: connection.target)
        tell(job, of: nil, .deferred(reason.status), true, over: connection)
    }

    // MARK: Of a transaction

    func settle(
        _ job: DeliveryJob, _ result: TransactionResult, over connection: ClientConnection,
        reportsFollow: Bool
    ) {
        connection.queue.note(result, at: now)
        connection.queue.standing = .proven(now)
        let mailProtocol = connection.queue.mailProtocol
        job.settle(
            result.verdicts, connection.target, security: connection.channel.words,
            accepted: {
                mailProtocol == .smtp
                    ? .relayed($0, reportsFollow: reportsFollow) : .delivered($0)
            }
        ) { recipient, recipientResult in
            // Who has had a reply of his own, as by LMTP, has no twin.
            let mayBeDuplicated = result.mayBeDuplicated && recipientResult.status?.code == 0
            tell(job, of: recipient, recipientResult, mayBeDuplicated, over: connection)
        }
    }

    /// `recipient` nil: all that the job still has to come to.
    func tell(
        _ job: DeliveryJob, of recipient: ForwardPath?, _ result: RecipientResult,
        _ mayBeDuplicated: Bool, over connection: ClientConnection
    ) {
        let outcome: DeliveryEvent.Outcome
        switch result {
        case .delivered, .relayed: outcome = .delivered
        case .deferred: outcome = mayBeDuplicated ? .possiblyDuplicated : .deferred
        case .failed: outcome = .failed
        case .notAttempted: return
        }
        events(
            DeliveryEvent(
                id: job.item.id, recipient: recipient,
                recipientCount: recipient == nil ? job.openCount : 1,
                destination: connection.queue.destination, host: connection.target.host,
                address: connection.target.address, channel: connection.channel,
                outcome: outcome, status: result.status ?? DeliveryStatus(),
                duration: now - job.began))
    }
}
