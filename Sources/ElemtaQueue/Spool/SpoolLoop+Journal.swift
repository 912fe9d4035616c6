import DequeModule
import ElemtaSMTP
import Synchronization

/// The spool thread's side of the journal.
extension SpoolLoop {
    /// Whether the journal may take mail: what it has taken must come into the tables.
    var isJournaling: Bool {
        guard case .none = stall, case .none = thrift else { return false }
        return reserve.isFilled && !shared.isShort.load(ordering: .relaxed)
    }

    /// Brings the first `count` of what the journal has taken into the tables, and notes there how far it was
    /// brought.
    func bringIn(
        _ count: Int, _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(LMDBError) {
        guard count > 0 else { return }
        for element in journaled.prefix(count) {
            guard let submission = element.submission else { continue }
            try bringIn(submission, transaction, tables, &draft)
        }
        try store.putState(
            lastID: ids.latest, applied: journaled[count - 1].sequence, transaction, tables)
    }

    private func bringIn(
        _ submission: Submission, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(LMDBError) {
        var envelope = submission.envelope
        do throws(ChangeFailure) {
            let place = try writer.insert(&envelope, submission.content, transaction, tables)
            draft.changes.append(.add(plan(envelope, place)))
        } catch {
            if case .transaction(let cause) = error { throw cause }
            // It is there: a commit that was reported as failed, or a queue put together from copies.
            guard !schedule.contains(envelope.id),
                let (found, place) = try? writer.load(envelope.id, transaction, tables)
            else { return }
            draft.changes.append(.add(plan(found, place)))
        }
    }

    /// They are in the tables: the journal's room is free again.
    func forgetJournaled(_ count: Int) {
        guard count > 0 else { return }
        store.applied = journaled[count - 1].sequence
        shared.applied.store(store.applied, ordering: .releasing)
        journaled.removeFirst(count)
        lookForRoom()
        journalMayBegin()
    }
}

extension SpoolStore {
    /// Brings what a journal has into the tables of a stopped server.
    func bringIn(_ journaled: [JournaledSubmission]) throws(SpoolError) {
        guard let last = journaled.last else { return }
        try write { transaction, tables throws(LMDBError) in
            var writer = MessageWriter()
            try writer.begin(transaction, tables)
            var lastID = MessageID(rawValue: 0)
            for case let submission? in journaled.map(\.submission) {
                var envelope = submission.envelope
                lastID = max(lastID, envelope.id)
                do throws(ChangeFailure) {
                    _ = try writer.insert(&envelope, submission.content, transaction, tables)
                } catch {
                    if case .transaction(let cause) = error { throw cause }
                }
            }
            try putState(lastID: lastID, applied: last.sequence, transaction, tables)
        }
        applied = last.sequence
    }
}
