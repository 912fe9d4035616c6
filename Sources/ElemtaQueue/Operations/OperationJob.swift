import ElemtaSMTP
import ElemtaThreads

/// An operation on its way through the queue, one slice to a batch, so that mail goes on meanwhile.
final class OperationJob: Sendable {
    private let work: Work
    private let selection: QueueSelection
    private let wanted: @Sendable () -> Bool
    private let progress: @Sendable (OperationProgress) -> Void
    private let state: Locked<State>

    enum Work: Hashable, Sendable {
        case operation(QueueOperation)
        /// The recipients may go elsewhere than they did.
        case reroute
    }

    private struct State {
        var progress = OperationProgress()
        /// Where the slices that are committed ended.
        var position = Position.first
        /// Where the slice being written ends.
        var next = Position.first
        var examined = 0
        var changed = 0
    }

    private enum Position: Equatable {
        case first
        /// Behind this many ids of the selection.
        case index(Int)
        case after(MessageID)
        case end
    }

    /// Messages examined in one slice.
    static let sliceLimit = 200

    convenience init(
        _ operation: QueueOperation, _ selection: QueueSelection,
        while wanted: @escaping @Sendable () -> Bool,
        progress: @escaping @Sendable (OperationProgress) -> Void
    ) {
        self.init(.operation(operation), selection, while: wanted, progress: progress)
    }

    init(
        _ work: Work, _ selection: QueueSelection,
        while wanted: @escaping @Sendable () -> Bool = { true },
        progress: @escaping @Sendable (OperationProgress) -> Void
    ) {
        self.work = work
        self.selection = selection
        self.wanted = wanted
        self.progress = progress
        state = Locked(State())
    }

    /// Whether somebody still waits for the rest of it.
    var isWanted: Bool { wanted() }

    /// An operator waits for it to end.
    var isAskedFor: Bool { work != .reroute }

    /// Ends without having been finished.
    func end(_ failure: SpoolError) {
        let last = state.withLock { state in
            state.progress.isFinished = true
            state.progress.failure = failure
            return state.progress
        }
        progress(last)
    }

    /// The slice has been committed.
    ///
    /// - Returns: whether that was the last one.
    func reportProgress() -> Bool {
        let now = state.withLock { state in
            state.position = state.next
            state.progress.examined += state.examined
            state.progress.changed += state.changed
            state.progress.isFinished = state.position == .end
            return state.progress
        }
        progress(now)
        return now.isFinished
    }

    /// Applies the operation to the next messages.
    func runSlice(
        _ store: SpoolStore, _ writer: inout MessageWriter, _ sight: QueueSight,
        _ plan: (Envelope, ContentPlace) -> MessagePlan,
        _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(LMDBError) {
        let position = state.withLock { $0.position }
        let (ids, next) = try nextIDs(from: position, transaction, tables)
        var changed = 0
        for id in ids {
            do throws(ChangeFailure) {
                guard let (envelope, place) = try writer.load(id, transaction, tables),
                    isMeant(envelope, sight)
                else { continue }
                let isChanged = try apply(
                    to: envelope, place, &writer, plan, transaction, tables, &draft)
                if isChanged { changed += 1 }
            } catch {
                switch error {
                case .transaction(let cause): throw cause
                // Damage is found again by whoever reads the message; operators go on.
                case .message, .damage: continue
                }
            }
        }
        state.withLock { state in
            state.next = next
            state.examined = ids.count
            state.changed = changed
        }
    }

    private func isMeant(_ envelope: Envelope, _ sight: QueueSight) -> Bool {
        // They are where the ids came from: looking for each would be quadratic.
        if case .ids = selection { return true }
        return envelope.matches(selection, sight)
    }

    private func nextIDs(
        from position: Position, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables
    ) throws(LMDBError) -> (ids: [MessageID], next: Position) {
        if case .ids(let wanted) = selection {
            var start = 0
            if case .index(let index) = position { start = index }
            let end = min(wanted.count, start + Self.sliceLimit)
            return (Array(wanted[start..<end]), end == wanted.count ? .end : .index(end))
        }
        var ids: [MessageID] = []
        let cursor = try transaction.cursor(in: tables.envelope)
        let note: LMDBCursor.Visit<MessageID?> = { key, _ in RecordKey(key)?.messageID }
        var found: MessageID??
        switch position {
        case .after(let id): found = try cursor.seek(RecordKey(id.successor), note)
        case .first, .index, .end: found = try cursor.first(note)
        }
        while let key = found, ids.count < Self.sliceLimit {
            if let key { ids.append(key) }
            found = try cursor.next(note)
        }
        guard found != nil, let last = ids.last else { return (ids, .end) }
        return (ids, .after(last))
    }

    private func apply(
        to envelope: Envelope, _ place: ContentPlace, _ writer: inout MessageWriter,
        _ plan: (Envelope, ContentPlace) -> MessagePlan,
        _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(ChangeFailure) -> Bool {
        var envelope = envelope
        switch work {
        case .reroute:
            if envelope.hasPendingRecipients {
                draft.changes.append(.reroute(plan(envelope, place)))
            }
            return false
        case .operation(.delete):
            guard try writer.remove(envelope.id, place, transaction, tables) else { return false }
            if place == .file { draft.removedFiles.append(envelope.id) }
            draft.changes.append(.remove(envelope.id))
            return true
        case .operation(.hold):
            guard !envelope.isHeld, envelope.hasPendingRecipients else { return false }
            envelope.isHeld = true
            draft.changes.append(.hold(envelope.id))
        case .operation(.release):
            guard envelope.isHeld else { return false }
            envelope.isHeld = false
            draft.changes.append(.release(envelope.id))
        case .operation(.retry):
            guard !envelope.isHeld else { return false }
            if envelope.hasPendingRecipients {
                envelope.makeDue()
                draft.changes.append(.expedite(envelope.id))
            } else {
                envelope.reviveFailed()
                draft.changes.append(.add(plan(envelope, place)))
            }
        }
        try writer.replace(envelope, place, transaction, tables)
        return true
    }
}

extension Envelope {
    /// Every pending recipient is due at once.
    fileprivate mutating func makeDue() {
        for index in recipients.indices {
            guard case .pending(let attempts, _, let reason) = recipients[index].state
            else { continue }
            recipients[index].state = .pending(
                attempts: attempts, nextAttempt: nil, lastReason: reason)
        }
    }

    /// Failed recipients get another attempt.
    fileprivate mutating func reviveFailed() {
        for index in recipients.indices {
            guard case .failed(let status) = recipients[index].state else { continue }
            recipients[index].state = .pending(
                attempts: 0, nextAttempt: nil, lastReason: status)
        }
    }
}

extension MessageID {
    /// The least id greater than this.
    var successor: MessageID { MessageID(rawValue: rawValue == .max ? .max : rawValue + 1) }
}
