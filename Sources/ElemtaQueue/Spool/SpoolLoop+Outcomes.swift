import ElemtaSMTP
import Glibc

extension SpoolLoop {
    /// Writes down what became of a delivery.
    func record(
        _ taken: TakenOutcome, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(LMDBError) {
        let id = taken.outcome.id
        do throws(ChangeFailure) {
            if taken.answer.isWholeMessage, taken.outcome.isFullSuccess {
                // The way nearly all mail goes: nobody needs its envelope any more.
                try drop(id, taken.answer.place, transaction, tables, &draft)
            } else {
                try settle(taken, transaction, tables, &draft)
            }
        } catch {
            switch error {
            case .transaction(let cause): throw cause
            case .message: draft.changes.append(.remove(id))
            case .damage(let damage):
                try putAside(id, "envelope: \(damage)", transaction, tables, &draft)
            }
        }
    }

    private func drop(
        _ id: MessageID, _ place: ContentPlace, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(ChangeFailure) {
        if try writer.remove(id, place, transaction, tables), place == .file {
            draft.removedFiles.append(id)
        }
        draft.changes.append(.remove(id))
    }

    private func settle(
        _ taken: TakenOutcome, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(ChangeFailure) {
        let outcome = taken.outcome
        guard let (envelope, place) = try writer.load(outcome.id, transaction, tables) else {
            draft.changes.append(.remove(outcome.id))
            return
        }
        let members = taken.answer.members.indices(in: envelope)
        let now = now
        var settlement = Settlement(
            envelope, policy: options.retry, delayWarning: options.delayWarning, now: now,
            spread: Double.random(in: 0...1))
        settlement.apply(outcome.results, to: members, at: outcome.destination)
        if !settlement.reports.isEmpty {
            try report(settlement, place, transaction, tables, &draft)
        }
        announce(settlement, outcome.destination, &draft)
        let changed = settlement.envelope
        let dispatch = dispatch
        let demand = changed.transportDemand
        var groups = MessagePlan.groups(
            of: changed, members: taken.answer.members == .allPending ? nil : members, now: now,
            destination: { dispatch.destination(for: $0, demand: demand) })
        if !changed.hasPendingRecipients {
            guard changed.hasFailedRecipients, options.failedRetention > 0 else {
                try drop(outcome.id, place, transaction, tables, &draft)
                return
            }
            groups = [MessagePlan.retained(until: (now + options.failedRetention).seconds)]
        }
        try writer.replace(changed, place, transaction, tables)
        draft.changes.append(
            .settle(
                outcome.id, outcome.destination, needsReview: MessagePlan.needsReview(changed),
                groups))
    }

    private func announce(
        _ settlement: Settlement, _ destination: Destination, _ draft: inout Draft
    ) {
        guard let worst = settlement.worst else { return }
        let id = settlement.envelope.id
        if settlement.failed > 0 {
            draft.events.append(
                .failed(id, destination, recipients: Int(settlement.failed), worst))
        } else if let next = settlement.nextAttempt {
            draft.events.append(
                .deferred(
                    id, destination, recipients: Int(settlement.deferred), worst, until: next))
        }
    }

    /// Queues a report in the same transaction: the sender is told exactly when the state says so.
    private func report(
        _ settlement: Settlement, _ place: ContentPlace,
        _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(ChangeFailure) {
        let original = settlement.envelope
        let report = DeliveryReport(
            original: original, recipients: settlement.reports, hostname: options.hostname,
            id: ids.next(), now: now)
        let content = try? store.beginningOfContent(
            of: original, place, limit: DeliveryReport.returnedOctets, transaction, tables)
        guard let message = report.message(returning: content) else { return }
        var envelope = message.envelope
        let reportPlace = try writer.insert(
            &envelope, .inMemory(ContentOctets(message.content)), transaction, tables)
        draft.changes.append(.add(plan(envelope, reportPlace)))
        draft.events.append(.reported(envelope.id, about: original.id))
    }

    /// Removes a failed message whose time to be looked at is over.
    func expire(
        _ id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(LMDBError) {
        guard let place = schedule.place(of: id) else { return }
        do throws(ChangeFailure) {
            try drop(id, place, transaction, tables, &draft)
            draft.events.append(.expired(id))
        } catch {
            if case .transaction(let cause) = error { throw cause }
        }
    }

    /// Moves what can't be read to quarantine, and the message out of the schedule.
    func putAside(
        _ id: MessageID, _ reason: String, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(LMDBError) {
        draft.changes.append(.remove(id))
        let octets = try SpoolStore.rawRecords(of: id, transaction, tables)
        do throws(FileError) {
            let file = ContentFileLayout.path(store.path, id)
            if octets.isEmpty, !FileSystem.exists(file) { return }
            _ = try quarantine.keep(octets, as: "\(id)", reason: reason)
            if FileSystem.exists(file) {
                _ = try quarantine.move(file, as: "\(id).content", reason: reason)
            }
        } catch {
            // Left where it is: out of the schedule, looked at again at the next start.
            draft.events.append(
                .quarantined(name: "\(id)", reason: "\(reason); left in place: \(error)"))
            return
        }
        try SpoolStore.removeRaw(id, transaction, tables)
        draft.events.append(.quarantined(name: "\(id)", reason: reason))
    }
}

extension DeliveryOutcome {
    /// Everybody has got it.
    var isFullSuccess: Bool {
        switch results {
        case .all(.delivered), .all(.relayed): true
        case .all, .each: false
        }
    }
}

extension RecipientSelection {
    /// The recipients that are meant, as indices.
    func indices(in envelope: Envelope) -> [UInt32] {
        switch self {
        case .indices(let indices): indices
        case .allPending:
            envelope.recipients.indices.filter { envelope.recipients[$0].state.isPending }
                .map { UInt32($0) }
        }
    }
}
