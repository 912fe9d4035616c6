import DequeModule
import ElemtaSMTP
import Glibc

extension SpoolLoop {
    /// Writes down what became of deliveries. Those of one message to several destinations are
    /// settled together: what fails at the same time is told in one report.
    func record(
        _ slice: Deque<TakenOutcome>.SubSequence, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(LMDBError) {
        var together: [MessageID: [TakenOutcome]] = [:]
        for taken in slice where !taken.answer.isOnlyGroup {
            together[taken.id, default: []].append(taken)
        }
        for taken in slice {
            if taken.answer.isOnlyGroup {
                try record([taken], transaction, tables, &draft)
            } else if let all = together.removeValue(forKey: taken.id) {
                try record(all, transaction, tables, &draft)
            }
        }
    }

    /// - Parameter all: of one message, at least one.
    private func record(
        _ all: [TakenOutcome], _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(LMDBError) {
        let first = all[0]
        do throws(ChangeFailure) {
            if first.isRemoval {
                try drop(first.id, first.answer.place, transaction, tables, &draft)
            } else {
                try settle(all, of: first.id, transaction, tables, &draft)
            }
        } catch {
            switch error {
            case .transaction(let cause): throw cause
            case .message: draft.changes.append(.remove(first.id))
            case .damage(let damage):
                try putAside(first.id, "envelope: \(damage)", transaction, tables, &draft)
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
        _ all: [TakenOutcome], of id: MessageID, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(ChangeFailure) {
        guard let (envelope, place) = try writer.load(id, transaction, tables) else {
            draft.changes.append(.remove(id))
            return
        }
        let now = now
        var settlement = Settlement(
            envelope, policy: options.retry, delayWarning: options.delayWarning, now: now,
            spread: Double.random(in: 0...1))
        for taken in all {
            let members = taken.answer.members.indices(in: envelope)
            let summary = settlement.apply(taken.finding, to: members, at: taken.destination)
            announce(summary, of: id, taken.destination, &draft)
        }
        if !settlement.reports.isEmpty {
            try report(
                settlement.reports, of: settlement.envelope, place, transaction, tables, &draft)
        }
        let changed = settlement.envelope
        if !changed.hasPendingRecipients,
            !changed.hasFailedRecipients || options.failedRetention == 0
        {
            return try drop(id, place, transaction, tables, &draft)
        }
        try writer.replace(changed, place, transaction, tables)
        for (index, taken) in all.enumerated() {
            var plans = groups(of: changed, after: taken)
            if !changed.hasPendingRecipients, index == all.count - 1 {
                plans = [MessagePlan.retained(until: (now + options.failedRetention).seconds)]
            }
            draft.changes.append(
                .settle(
                    id, taken.destination, needsReview: MessagePlan.needsReview(changed),
                    deadline: changed.deadline(options.planTerms), plans))
        }
    }

    /// What is left of an answered group.
    private func groups(of envelope: Envelope, after taken: TakenOutcome) -> [GroupPlan] {
        let dispatch = dispatch
        let demand = envelope.transportDemand
        let members: [UInt32]? =
            switch taken.answer.members {
            case .allPending: nil
            case .indices(let indices): indices
            }
        return MessagePlan.groups(
            of: envelope, members: members, now: now,
            destination: { dispatch.destination(for: $0, demand: demand) })
    }

    private func announce(
        _ summary: Settlement.Summary, of id: MessageID, _ destination: Destination,
        _ draft: inout Draft
    ) {
        if let refusal = summary.refusal {
            draft.events.append(
                .failed(id, destination, recipients: Int(summary.failed), refusal))
        }
        if let deferral = summary.deferral, let next = summary.nextAttempt {
            draft.events.append(
                .deferred(
                    id, destination, recipients: Int(summary.deferred), deferral, until: next))
        }
    }

    /// Queues a report in the same transaction: the sender is told exactly when the state says so.
    func report(
        _ recipients: [ReportedRecipient], of original: Envelope, _ place: ContentPlace,
        _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(ChangeFailure) {
        let report = DeliveryReport(
            original: original, recipients: recipients, hostname: options.hostname,
            id: ids.next(), now: now)
        let content = try? store.beginningOfContent(
            of: original, place, limit: DeliveryReport.returnedOctets, transaction, tables)
        guard let message = report.message(returning: content) else { return }
        var envelope = message.envelope
        let reportPlace = try writer.insert(
            &envelope, .inMemory(ContentOctets(message.content)), transaction, tables)
        draft.changes.append(.add(plan(envelope, reportPlace)))
        draft.events.append(
            .reported(
                envelope.id, about: original.id,
                kinds: Set(recipients.map(\.action.rawValue)).sorted()))
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
        guard try store.isRemovable(id) else {
            throw LMDBError(operation: "page of a damaged record", code: LMDBError.corrupted)
        }
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
