import DequeModule
import ElemtaSMTP
import Glibc
import Synchronization

/// Why a transaction was lost.
private enum BatchFailure: Error {
    /// While this submission was being written.
    case submission(Int, LMDBError)
    /// While results were being written.
    case results(LMDBError)
    /// At the commit: whether that was the writing or the sync nobody says.
    case commit(LMDBError)
}

extension SpoolLoop {
    /// How much of what waits goes into one transaction.
    private struct Slice {
        var journaled = 0
        var outcomes = 0
        var expired = 0
        var damaged = 0
        var hasJob = false
        var isEmpty: Bool {
            journaled == 0 && outcomes == 0 && expired == 0 && damaged == 0 && !hasJob
        }
    }

    /// Writes and commits one batch, then tells everybody. Whatever fails, what is on disk stays
    /// whole, and each submission gets its answer after the commit that decided about it.
    func commitBatch() {
        var accepts = takeSubmissions()
        var answers: [Acknowledgement] = []
        if let reason = refusal(for: accepts) { refuse(&accepts, reason, &answers) }
        dropUnwantedJobs()
        var slice = nextSlice()
        var trials = 0
        while !accepts.isEmpty || !slice.isEmpty {
            var draft = Draft()
            let started = ContinuousClock.now
            do throws(BatchFailure) {
                try write(slice, accepts, &draft)
                draft.events.append(
                    .committed(messages: accepts.count, duration: ContinuousClock.now - started))
                complete(slice, &draft, &answers)
                break
            } catch {
                writer.abandoned()
                trials += 1
                switch error {
                case .submission(let index, let cause):
                    refuse(
                        &accepts, from: index, upTo: trials > 1 ? accepts.count : index + 1,
                        SpoolError(cause), &answers)
                case .results(let cause), .commit(let cause):
                    let hadAccepts = !accepts.isEmpty
                    recover(from: error, cause, &accepts, &answers)
                    if !hadAccepts, !canGoOn(after: cause, trials) {
                        begin(stallingBy: SpoolError(cause))
                        slice = Slice()
                    } else {
                        slice = nextSlice()
                    }
                }
            }
        }
        if !answers.isEmpty { acknowledge(answers) }
    }

    private func takeSubmissions() -> [Submission] {
        var octets = 0
        var count = 0
        while count < min(submissions.count, Self.batchMessages) {
            if case .inMemory(let content) = submissions[count].content {
                octets += content.octetCount
            }
            // The first goes whatever its size.
            if octets > Self.batchOctets, count > 0 { break }
            count += 1
        }
        let taken = Array(submissions.prefix(count))
        submissions.removeFirst(count)
        return taken
    }

    private func nextSlice() -> Slice {
        if isStalled {
            return Slice()
        }
        if isThrifty { return thriftySlice() }
        let limit = reserve.isFilled ? Self.batchOutcomes : Self.batchOutcomesOnFullDisk
        return Slice(
            journaled: min(journaled.count, limit), outcomes: min(outcomes.count, limit),
            expired: min(expired.count, limit),
            damaged: min(damaged.count, 10), hasJob: !jobs.isEmpty)
    }

    /// With no room and nothing left to give up: first what makes room, alone.
    private func thriftySlice() -> Slice {
        let removals = postponeOutcomes()
        // Only pages that were freed before are there to write on: perhaps for one of them.
        let limit = hasStalled ? 1 : Self.batchOutcomesOnFullDisk
        var slice = Slice()
        if removals > 0 || !expired.isEmpty {
            slice.outcomes = min(removals, limit)
            slice.expired = min(expired.count, limit)
        } else if !outcomes.isEmpty {
            slice.outcomes = min(outcomes.count, limit)
        } else if !journaled.isEmpty {
            slice.journaled = min(journaled.count, limit)
        } else {
            slice.damaged = min(damaged.count, 1)
            slice.hasJob = damaged.isEmpty && !jobs.isEmpty
        }
        return slice
    }

    /// Puts messages off that nobody has got, without writing that down: each deferral makes its
    /// record longer, and without room that would keep the removals behind it from being written, of
    /// which room comes. What somebody has got waits to be written, or it would be delivered again.
    ///
    /// - Returns: how many outcomes are removals; they are the first now.
    private func postponeOutcomes() -> Int {
        var removals: Deque<TakenOutcome> = []
        var others: Deque<TakenOutcome> = []
        let delay = min(options.retry.schedule.first ?? Self.postponement, Self.postponement)
        let later = now.seconds + max(1, delay)
        for taken in outcomes {
            if taken.isRemoval {
                removals.append(taken)
            } else if taken.finding.isDeliveredToSome {
                others.append(taken)
            } else {
                let plan = GroupPlan(
                    destination: taken.destination, state: .waiting(until: later),
                    members: taken.answer.members)
                schedule.settle(taken.id, taken.destination, with: [plan])
            }
        }
        outcomes = removals + others
        return removals.count
    }

    // MARK: - Refusing

    /// Why nothing can be accepted at the moment.
    private func refusal(for accepts: [Submission]) -> SpoolError? {
        guard !accepts.isEmpty else { return nil }
        switch stall {
        case .none: break
        case .forGood(let error): return error
        case .until(_, let error):
            if isStalled || !outcomes.isEmpty || !journaled.isEmpty { return error }
            stall = .none
        }
        var octets = 0
        for accept in accepts {
            if case .inMemory(let content) = accept.content { octets += content.octetCount }
        }
        if !reserve.isFilled {
            refillReserve()
            // Without the reserve the room there is belongs to the results of deliveries, save
            // what the spool's file has inside: it doesn't shrink, its pages are used again.
            let inside = store.reusableOctets()
            guard reserve.isFilled || inside >= UInt64(2 * octets + 2 * reserve.size) else {
                return .full
            }
        }
        let hasRoom = store.hasRoom(for: octets, minimumFree: options.minimumFree, shared)
        return hasRoom ? nil : .full
    }

    private func refuse(
        _ accepts: inout [Submission], _ reason: SpoolError, _ answers: inout [Acknowledgement]
    ) {
        refuse(&accepts, from: 0, upTo: accepts.count, reason, &answers)
    }

    private func refuse(
        _ accepts: inout [Submission], from first: Int, upTo end: Int, _ reason: SpoolError,
        _ answers: inout [Acknowledgement]
    ) {
        guard first < end else { return }
        for accept in accepts[first..<end] {
            if case .file(let file) = accept.content { file.discard() }
            answers.append(Acknowledgement(token: accept.token, result: .failure(reason)))
        }
        options.events(.refused(end - first, reason))
        accepts.removeSubrange(first..<end)
    }

    // MARK: - Failing

    /// After a commit or the recording of results failed: submissions are refused, since the
    /// results of deliveries come first and a sync that failed is never tried again.
    private func recover(
        from failure: BatchFailure, _ cause: LMDBError, _ accepts: inout [Submission],
        _ answers: inout [Acknowledgement]
    ) {
        switch cause.kind {
        case .full:
            guard case .commit = failure, store.isOfSync(cause) else { break }
            return doubt(&accepts, cause, &answers)
        case .transactionTooLarge, .exists, .invalidValue: break
        case .damaged:
            refuse(&accepts, SpoolError(cause), &answers)
            return giveUp(SpoolError(cause))
        case .broken: return doubt(&accepts, cause, &answers)
        }
        refuse(&accepts, SpoolError(cause), &answers)
    }

    /// Whether the transaction is there is unknown until somebody looks: the submissions are refused
    /// and their content files stay until then.
    private func doubt(
        _ accepts: inout [Submission], _ cause: LMDBError, _ answers: inout [Acknowledgement]
    ) {
        doubtful.append(contentsOf: accepts)
        for accept in accepts {
            answers.append(
                Acknowledgement(token: accept.token, result: .failure(SpoolError(cause))))
        }
        if !accepts.isEmpty { options.events(.refused(accepts.count, SpoolError(cause))) }
        accepts = []
        reopen(after: cause)
    }

    private func reopen(after cause: LMDBError) {
        hasBegun = false
        do throws(SpoolError) {
            store.isSound = false
            try store.reopen()
            damaged.append(contentsOf: try store.damagedRecords())
            store.isSound = true
            // Once, and not as often as it is tried.
            if !isStallTold { options.events(.reopened(after: cause.description)) }
            stall = .none
            removeDoubtful()
        } catch {
            if case .unreadable = error { giveUp(error) } else { begin(stallingBy: error) }
        }
    }

    /// Whether results alone can be tried again at once.
    private func canGoOn(after cause: LMDBError, _ trials: Int) -> Bool {
        switch cause.kind {
        case .full:
            if reserve.giveUp() {
                options.events(.reserveGivenUp)
                return true
            }
            guard !isThrifty else { return false }
            thrift = .until(.now + Self.thriftTime)
            tellStall(SpoolError(cause))
            return true
        case .transactionTooLarge, .exists, .invalidValue, .broken, .damaged:
            return trials < 2 && !hasStalled
        }
    }

    /// Whether something that couldn't be written waits to be tried again.
    var hasStalled: Bool {
        switch stall {
        case .none: false
        case .until, .forGood: true
        }
    }

    /// The spool as a whole is damaged: nothing more is accepted or handed out, and the next start
    /// salvages it.
    func giveUp(_ error: SpoolError) {
        if case .forGood = stall { return }
        store.isSound = false
        stall = .forGood(error)
        options.events(.suspected(error.description))
        endJobs(error)
    }

    func begin(stallingBy error: SpoolError) {
        if case .forGood = stall { return }
        tellStall(error)
        stall = .until(.now + Self.stallTime, error)
        endJobs(error)
    }

    private func tellStall(_ error: SpoolError) {
        guard !isStallTold else { return }
        isStallTold = true
        options.events(.stalled(error))
    }

    /// Something has been written, and there is room for what comes.
    private func tellEndOfStall() {
        guard isStallTold, case .none = thrift else { return }
        isStallTold = false
        options.events(.resumed)
    }

    /// Takes back what a failed commit may have left after all.
    private func removeDoubtful() {
        guard !doubtful.isEmpty, !hasStalled else { return }
        do throws(SpoolError) {
            for submission in doubtful {
                try store.removeIfThere(submission.envelope.id)
                if case .file(let file) = submission.content { file.discard() }
            }
            doubtful = []
        } catch {
            begin(stallingBy: error)
        }
    }

    // MARK: - Writing

    private func write(
        _ slice: Slice, _ accepts: [Submission], _ draft: inout Draft
    ) throws(BatchFailure) {
        var current = -1
        do throws(LMDBError) {
            let tables = try openedTables()
            let transaction = try tables.environment.beginWriting()
            if !hasBegun {
                try writer.begin(transaction, tables)
                hasBegun = true
            }
            try write(slice, transaction, tables, &draft)
            for (index, submission) in accepts.enumerated() {
                current = index
                try write(submission, transaction, tables, &draft)
            }
            current = accepts.count
            try transaction.commit()
        } catch {
            let error = store.explained(error)
            if current == accepts.count { throw .commit(error) }
            // A broken page is nobody's own fault.
            guard current >= 0, error.kind != .broken else { throw .results(error) }
            throw .submission(current, error)
        }
    }

    /// The tables; reopened where an earlier attempt to do so failed, or where something smaller than a
    /// batch could not be written.
    private func openedTables() throws(LMDBError) -> SpoolStore.Tables {
        if let doubt = store.doubt { reopen(after: doubt) }
        // What was refused could not be taken out again: one more sync of this descriptor is too much.
        if let doubt = store.doubt { throw doubt }
        do throws(LMDBError) {
            return try store.opened()
        } catch {
            reopen(after: error)
            return try store.opened()
        }
    }

    private func write(
        _ slice: Slice, _ transaction: borrowing WriteTransaction, _ tables: SpoolStore.Tables,
        _ draft: inout Draft
    ) throws(LMDBError) {
        try bringIn(slice.journaled, transaction, tables, &draft)
        try record(outcomes.prefix(slice.outcomes), transaction, tables, &draft)
        for index in 0..<slice.expired {
            try expire(expired[index], transaction, tables, &draft)
        }
        for index in 0..<slice.damaged {
            try putAside(
                damaged[index].id, damaged[index].reason, transaction, tables, &draft)
        }
        // Opening the tables again may have ended it.
        if slice.hasJob, let job = jobs.first {
            try job.runSlice(store, &writer, sight, plan, transaction, tables, &draft)
        }
    }

    private func write(
        _ submission: Submission, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(LMDBError) {
        var envelope = submission.envelope
        do throws(ChangeFailure) {
            let place = try writer.insert(&envelope, submission.content, transaction, tables)
            draft.changes.append(.add(plan(envelope, place)))
            try reportArrival(of: envelope, place, transaction, tables, &draft)
            draft.acknowledgements.append(
                Acknowledgement(token: submission.token, result: .success(envelope.id)))
        } catch {
            let reason: SpoolError
            switch error {
            case .transaction(let cause): throw cause
            case .message(let cause): reason = cause
            case .damage(let damage): reason = .damaged(envelope.id, damage.description)
            }
            draft.acknowledgements.append(
                Acknowledgement(token: submission.token, result: .failure(reason)))
            draft.events.append(.refused(1, reason))
            // A duplicate's file is the first one's.
            if case .file(let file) = submission.content, reason != .duplicate(envelope.id) {
                draft.discarded.append(file)
            }
        }
    }

    /// A report that can't be made is no reason to refuse the message.
    private func reportArrival(
        of envelope: Envelope, _ place: ContentPlace, _ transaction: borrowing WriteTransaction,
        _ tables: SpoolStore.Tables, _ draft: inout Draft
    ) throws(ChangeFailure) {
        let reports = envelope.reportsAtArrival
        guard !reports.isEmpty else { return }
        do throws(ChangeFailure) {
            try report(reports, of: envelope, place, transaction, tables, &draft)
        } catch {
            if case .transaction = error { throw error }
        }
    }

    /// Where the recipients of a message go, and when.
    func plan(_ envelope: Envelope, _ place: ContentPlace) -> MessagePlan {
        let dispatch = dispatch
        let demand = envelope.transportDemand
        return MessagePlan(
            envelope, place: place, now: now, terms: options.planTerms,
            destination: { dispatch.destination(for: $0, demand: demand) })
    }

    // MARK: - After the commit

    /// The transaction is on disk: from here on it has happened.
    private func complete(
        _ slice: Slice, _ draft: inout Draft, _ answers: inout [Acknowledgement]
    ) {
        writer.committed()
        stall = .none
        forgetJournaled(slice.journaled)
        outcomes.removeFirst(slice.outcomes)
        expired.removeFirst(slice.expired)
        damaged.removeFirst(slice.damaged)
        answers.append(contentsOf: draft.acknowledgements)
        // First the answers: clients wait for them.
        if !answers.isEmpty { acknowledge(answers) }
        answers = []
        for change in draft.changes { schedule.apply(change, now: now) }
        publish()
        for file in draft.discarded { file.discard() }
        unlinked.append(contentsOf: store.removeContentFiles(of: draft.removedFiles))
        if unlinked.count >= 1000 { forgetRemovedFiles() }
        for event in draft.events { options.events(event) }
        if slice.hasJob, jobs.first?.reportProgress() == true { jobs.removeFirst() }
        if !reserve.isFilled, slice.outcomes > 0 { refillReserve() }
        tellEndOfStall()
        if shared.isShort.load(ordering: .relaxed) {
            // Nothing is offered while MAIL is refused: what made room has to say so.
            lookForRoom()
        }
    }

    private func refillReserve() {
        reserve.fill()
        guard reserve.isFilled else { return }
        thrift = .none
        options.events(.reserveFilled)
    }

    /// Removes the notes of content files, once their unlinking is synced. When that fails the notes
    /// stay for the next start, as a sync that failed isn't tried again.
    func forgetRemovedFiles() {
        guard !unlinked.isEmpty else { return }
        try? store.forgetRemovals(unlinked)
        unlinked = []
    }
}
