import DequeModule
import ElemtaSMTP
import Glibc

extension SpoolLoop {
    /// Brings the schedule back from the envelopes and sweeps up what a crash may have left.
    ///
    /// What can't be read goes to quarantine, everything else is served. When the envelopes can't all
    /// be visited the spool is salvaged; if even that doesn't help nothing is accepted.
    ///
    /// - Parameter suspects: messages with damage that their envelopes don't show.
    func recover(suspects: [MessageID: String]) {
        do throws(SpoolError) {
            do throws(SpoolError) {
                try bringBack(suspects)
            } catch {
                guard case .unreadable(let reason) = error else { throw error }
                try store.salvage(because: reason, events: options.events)
                try bringBack([:])
            }
        } catch {
            giveUp(error)
        }
    }

    private func bringBack(_ suspects: [MessageID: String]) throws(SpoolError) {
        var report = RecoveryReport()
        var filed: Set<MessageID> = []
        try loadSchedule(&filed)
        do throws(SpoolError) {
            try sweepContentFiles(&filed, &report)
        } catch {
            // Those that weren't come to aren't missing.
            filed = []
            begin(stallingBy: error)
        }
        // Messages that should have a content file and haven't.
        for id in filed { damaged.append((id, "content file is missing")) }
        for (id, reason) in suspects where schedule.contains(id) && !filed.contains(id) {
            damaged.append((id, reason))
        }
        report.quarantined += damaged.count
        while !damaged.isEmpty || !journaled.isEmpty, !hasStalled { commitBatch() }
        publish()
        report.messages = schedule.counts.messages
        report.octets = schedule.counts.octets
        // On a full disk the generation stays what it was; nothing else depends on it.
        try? store.saveState(lastID: ids.latest)
        options.events(.recovered(report))
    }

    private static let mostReserved = 1 << 20

    /// - Parameter filed: gets the messages whose content is in a file.
    private func loadSchedule(_ filed: inout Set<MessageID>) throws(SpoolError) {
        var broken: [(id: MessageID, reason: String)] = []
        var inFiles: Set<MessageID> = []
        schedule = Schedule(outstandingLimit: options.outstandingLimit)
        damaged = []
        try store.reading { transaction, tables throws(SpoolError) in
            // Damaged, the number may be any: what it is too large by must not be memory.
            let count = (try? transaction.count(of: tables.envelope)) ?? 0
            schedule.reserve(min(count, Self.mostReserved))
            try SpoolStore.walk(transaction, tables.envelope) { key, record in
                let id = key.messageID
                do throws(RecordDamage) {
                    let decoded = try EnvelopeRecord.decode(record, id: id)
                    if decoded.place == .file { inFiles.insert(id) }
                    schedule.add(plan(decoded.envelope, decoded.place))
                    recall(decoded.envelope)
                } catch {
                    broken.append((id, "envelope: \(error)"))
                }
            }
        }
        damaged.append(contentsOf: broken)
        filed = inFiles
    }

    /// Has destinations probed first that a message couldn't be brought to before.
    private func recall(_ envelope: Envelope) {
        for recipient in envelope.recipients {
            guard case .pending(let attempts, _, let reason?) = recipient.state, attempts > 0,
                reason.code == 0
            else { continue }
            let destination = dispatch.destination(
                for: recipient.path, demand: envelope.transportDemand)
            schedule.recall(envelope.id, destination, reason)
        }
    }

    /// Visits every content file.
    ///
    /// - Parameter filed: loses the messages whose file is there.
    private func sweepContentFiles(
        _ filed: inout Set<MessageID>, _ report: inout RecoveryReport
    ) throws(SpoolError) {
        let removals = try store.removals()
        let content = store.path + "/content"
        do throws(FileError) {
            for directory in try FileSystem.names(in: content) {
                let path = "\(content)/\(directory)"
                for name in try FileSystem.names(in: path) {
                    try sweep("\(path)/\(name)", name, directory, removals, &filed, &report)
                }
            }
        } catch {
            throw error.spoolError
        }
        if !removals.isEmpty { try store.forgetRemovals(Array(removals)) }
    }

    private func sweep(
        _ path: String, _ name: String, _ directory: String, _ removals: Set<MessageID>,
        _ filed: inout Set<MessageID>, _ report: inout RecoveryReport
    ) throws(FileError) {
        guard let id = MessageID(name), name.hasSuffix(directory), "\(id)" == name else {
            try putAside(path, name, "this doesn't belong under content/", &report)
            return
        }
        if filed.remove(id) != nil { return }
        // Begun since this process opened the spool: its client is still talking.
        if id > firstID { return }
        if removals.contains(id) {
            // Its message was done; we died before the file was gone.
            try FileSystem.remove(path)
            report.removedFiles += 1
            return
        }
        let inspection = try ContentFileLayout.inspect(OpenFile(path, O_RDONLY), id: id)
        switch inspection {
        case .unfinished:
            // Nobody was told 250 for this.
            try FileSystem.remove(path)
            report.removedFiles += 1
        case .whole(_, _, let generation):
            let reason =
                "no message has this content (spool generation \(generation), "
                + "now \(store.generation)): it was not accepted, or the spool is an older copy"
            try putAside(path, "\(id).content", reason, &report)
        case .damaged(let damage):
            try putAside(path, "\(id).content", "no message has this content: \(damage)", &report)
        }
    }

    private func putAside(
        _ path: String, _ name: String, _ reason: String, _ report: inout RecoveryReport
    ) throws(FileError) {
        _ = try quarantine.move(path, as: name, reason: reason)
        report.quarantined += 1
        options.events(.quarantined(name: name, reason: reason))
    }
}

extension SpoolStore {
    /// Messages whose content files were to be unlinked.
    func removals() throws(SpoolError) -> Set<MessageID> {
        try reading { transaction, tables throws(SpoolError) in
            var ids: Set<MessageID> = []
            try Self.walk(transaction, tables.removal) { key, _ in ids.insert(key.messageID) }
            return ids
        }
    }
}
