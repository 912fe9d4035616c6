import ElemtaSMTP

extension SpoolStore {
    /// A slice of the queue; see `Spool.list`.
    func list(
        _ selection: QueueSelection, after: MessageID?, limit: Int, _ sight: QueueSight
    ) throws(SpoolError) -> (messages: [MessageSummary], next: MessageID?) {
        if case .ids(let ids) = selection {
            var found: [MessageSummary] = []
            for id in ids {
                guard let decoded = try? envelope(id) else { continue }
                found.append(MessageSummary(decoded.envelope, sight))
            }
            return (found, nil)
        }
        return try reading { transaction, tables throws(SpoolError) in
            var found: [MessageSummary] = []
            var examined = 0
            var last: MessageID?
            do throws(LMDBError) {
                let cursor = try transaction.cursor(in: tables.envelope)
                let look: LMDBCursor.Visit<Void> = { key, record in
                    examined += 1
                    last = RecordKey(key)?.messageID
                    guard let id = last,
                        let envelope = try? EnvelopeRecord.decode(record, id: id).envelope,
                        envelope.matches(selection, sight)
                    else { return }
                    found.append(MessageSummary(envelope, sight))
                }
                var step: Void?
                if let after {
                    step = try cursor.seek(RecordKey(after.successor), look)
                } else {
                    step = try cursor.first(look)
                }
                while step != nil, examined < limit { step = try cursor.next(look) }
                return (found, step == nil ? nil : last)
            } catch {
                throw SpoolError(error)
            }
        }
    }

    /// Counts what a running spool knows from its schedule.
    func countMessages(_ sight: QueueSight) throws(SpoolError) -> SpoolStatistics {
        try reading { transaction, tables throws(SpoolError) in
            var statistics = SpoolStatistics()
            try Self.walk(transaction, tables.envelope) { key, record in
                guard
                    let envelope = try? EnvelopeRecord.decode(record, id: key.messageID).envelope
                else { return }
                statistics.messages += 1
                statistics.octets += envelope.contentOctets
                switch envelope.state(sight) {
                case .hold: statistics.held += 1
                case .failed: statistics.failed += 1
                case .active, .deferred: break
                }
            }
            return statistics
        }
    }

    /// Octets of `spool.mdb`.
    var fileOctets: UInt64 {
        let octets = try? reading { _, tables throws(SpoolError) in tables.environment.fileSize }
        return UInt64(octets ?? 0)
    }
}

extension OperationJob {
    /// Runs to the end on the calling thread, on a spool that no thread serves.
    func runAlone(_ store: SpoolStore, _ sight: QueueSight) {
        var writer = MessageWriter()
        var isFinished = false
        while !isFinished {
            guard isWanted else { return end(.stopped) }
            var draft = Draft()
            do throws(LMDBError) {
                let tables = try store.opened()
                let transaction = try tables.environment.beginWriting()
                try runSlice(store, &writer, sight, Self.noPlan, transaction, tables, &draft)
                try transaction.commit()
            } catch {
                store.noteFailure(error)
                end(SpoolError(error))
                return
            }
            try? store.forgetRemovals(store.removeContentFiles(of: draft.removedFiles))
            isFinished = reportProgress()
        }
    }

    /// Without a schedule nothing is planned; the next start reads the envelopes.
    private static func noPlan(_ envelope: Envelope, _ place: ContentPlace) -> MessagePlan {
        MessagePlan(
            envelope, place: place, now: envelope.arrival,
            terms: PlanTerms(retention: 0, maximumQueueTime: 0, delayWarning: 0)
        ) { _ in Destination(name: "") }
    }
}
