import ElemtaSMTP
import Glibc

/// What was saved of a damaged spool, and what wasn't.
public struct SalvageReport: Sendable, Hashable {
    /// What was found to be wrong with the spool.
    public let reason: String
    /// Where the damaged file is now.
    public internal(set) var file = ""
    /// Messages that are whole and queued again.
    public internal(set) var saved = 0
    /// Those among them whose envelope was lost and taken from their content file: recipients that
    /// had them already get them again.
    public internal(set) var restored = 0
    /// Messages of which something is left, in quarantine under their names.
    public internal(set) var incomplete = 0
    /// Messages that were queued, and nothing is left of them; nil where that can't be known, since
    /// what says how many there were is damaged too.
    public internal(set) var lost: Int?
    /// The list of free pages was damaged too: messages that had been delivered or deleted may be
    /// among those that were saved.
    public internal(set) var mayRepeat = false
}

/// Brings the messages of a damaged `spool.mdb` into a new one.
///
/// The new file is whole and synced before it takes the place of the old one, which stays in
/// quarantine: whoever dies in between begins anew. Nobody may have the spool open meanwhile.
final class Salvager {
    private let queue: String
    private let mapSize: Int?
    private let events: @Sendable (SpoolEvent) -> Void
    private let file: SpoolFile
    private let records = SalvagedRecords()
    private let quarantine: Quarantine
    private var report: SalvageReport
    /// Messages that were whole when they were found, and that the disk doesn't give any more.
    private var unread: Set<MessageID> = []

    private static let name = "salvaged.mdb"

    /// Saves what can be saved of the spool in `queue`, which is damaged for `reason`.
    ///
    /// - Throws: `.full` where there is no room for a second spool, `.storage`; the spool is then as
    ///   it was.
    static func salvage(
        _ queue: String, because reason: String, mapSize: Int?,
        events: @escaping @Sendable (SpoolEvent) -> Void
    ) throws(SpoolError) {
        let salvager = try onFiles { () throws(FileError) in
            try removeLeftovers(in: queue)
            let salvager = try Salvager(queue, reason, mapSize, events)
            try salvager.addContentFiles()
            return salvager
        }
        do throws(SpoolError) {
            try salvager.write()
        } catch {
            try? removeLeftovers(in: queue)
            throw error
        }
        salvager.putAside()
        try onFiles { () throws(FileError) in try salvager.exchange() }
        // It has happened, whatever fails now: nobody else will say what was saved and what wasn't.
        events(.salvaged(salvager.report))
        try onFiles { () throws(FileError) in try salvager.tidy() }
    }

    private static func onFiles<R>(_ body: () throws(FileError) -> R) throws(SpoolError) -> R {
        do throws(FileError) {
            return try body()
        } catch {
            throw error.spoolError
        }
    }

    /// What somebody who died has left of a new spool.
    private static func removeLeftovers(in queue: String) throws(FileError) {
        for suffix in ["", "-lock"] { try FileSystem.remove("\(queue)/\(name)\(suffix)") }
    }

    private init(
        _ queue: String, _ reason: String, _ mapSize: Int?,
        _ events: @escaping @Sendable (SpoolEvent) -> Void
    ) throws(FileError) {
        self.queue = queue
        self.mapSize = mapSize
        self.events = events
        quarantine = Quarantine(directory: queue)
        file = try SpoolFile(queue + "/spool.mdb")
        report = SalvageReport(reason: reason)
        let free = FreePages(file)
        report.mayRepeat = !free.isComplete
        let records = records
        RecordScan.run(file, free: free) { records.take($0) }
        records.sortPieces()
    }

    // MARK: - Content files

    /// Content files hold a copy of their message's envelope, for the case that it is lost.
    private func addContentFiles() throws(FileError) {
        for directory in try FileSystem.names(in: queue + "/content") {
            for name in try FileSystem.names(in: "\(queue)/content/\(directory)") {
                guard let id = MessageID(name), records.envelopes[id] == nil,
                    !records.removals.contains(id),
                    let file = try? OpenFile(ContentFileLayout.path(queue, id), O_RDONLY),
                    case .whole(let place, _, _)? = try? ContentFileLayout.inspect(file, id: id),
                    var envelope = ContentFileLayout.envelope(in: file, place, id: id)
                else { continue }
                envelope.contentOctets = place.octetCount
                records.add(envelope, .file, .record(EnvelopeRecord.filed(envelope)))
                report.restored += 1
            }
        }
    }

    // MARK: - The new spool

    private func write() throws(SpoolError) {
        let store = try SpoolStore(path: queue, name: Self.name, mapSize: mapSize)
        let ids = records.envelopes.keys.sorted()
        var position = 0
        while position < ids.count { position = try writeBatch(ids, from: position, to: store) }
        try store.write { transaction, tables throws(LMDBError) in
            for id in self.records.removals.sorted() {
                try MessageWriter.noteRemoval(of: id, transaction, tables)
            }
        }
        store.generation = records.generation
        store.applied = records.applied
        try store.saveState(lastID: records.lastID)
        store.close()
    }

    /// Writes as many messages as one transaction takes.
    ///
    /// - Returns: where to go on.
    private func writeBatch(
        _ ids: [MessageID], from start: Int, to store: SpoolStore
    ) throws(SpoolError) -> Int {
        var position = start
        var saved = 0
        try store.write { transaction, tables throws(LMDBError) in
            var octets = 0
            while position < ids.count, position - start < SpoolLoop.batchMessages,
                octets < SpoolLoop.batchOctets
            {
                let id = ids[position]
                position += 1
                guard self.records.defect(of: id) == nil else { continue }
                guard let records = self.octets(of: id) else {
                    self.unread.insert(id)
                    continue
                }
                try transaction.put(records[0], RecordKey(id), in: tables.envelope)
                for (part, piece) in zip(UInt32(0)..., records.dropFirst()) {
                    try transaction.put(piece, RecordKey(id, part: part), in: tables.content)
                }
                octets += records.reduce(0) { $0 + $1.count }
                saved += 1
            }
        }
        report.saved += saved
        return position
    }

    /// The records of a message: its envelope, then its pieces; nil where the disk doesn't give them
    /// any more.
    private func octets(of id: MessageID) -> [[UInt8]]? {
        var found: [[UInt8]] = []
        switch records.envelopes[id]?.source {
        case nil: return nil
        case .record(let octets)?: found.append(octets)
        case .range(let offset, let count)?:
            guard let octets = file.octets(count, at: offset) else { return nil }
            found.append(octets)
        }
        for piece in records.pieces(of: id) {
            guard let octets = file.octets(piece.count, at: piece.offset) else { return nil }
            found.append(octets)
        }
        return found
    }

    // MARK: - What can't be saved

    /// Puts what is incomplete into quarantine, message by message, and names what is lost.
    private func putAside() {
        for id in records.envelopes.keys.sorted() {
            if let defect = records.defect(of: id) { putAside(id, defect) }
            if unread.contains(id) { putAside(id, "the disk doesn't give all of it") }
        }
        // Where the free pages aren't known the rest is what delivered messages have left behind.
        if !report.mayRepeat { putOthersAside() }
    }

    /// What is left of messages whose envelope isn't there.
    private func putOthersAside() {
        var others = Set(records.damaged.keys).union(records.pieces.map(\.id))
        others.subtract(records.envelopes.keys)
        for id in others.sorted() {
            putAside(id, records.damaged[id]?.first?.reason ?? records.defect(of: id) ?? "")
        }
        for remains in records.nobodys {
            keep(remains.octets, "unknown", "a record of an unknown message: \(remains.reason)")
        }
        let lost = records.missing.subtracting(others).subtracting(records.envelopes.keys)
        for id in lost.sorted() { events(.lost(id)) }
        report.lost = expectedCount.map {
            max(lost.count, $0 - report.saved - report.incomplete)
        }
    }

    private func putAside(_ id: MessageID, _ reason: String) {
        var octets = self.octets(of: id)?.flatMap { $0 } ?? []
        if records.envelopes[id] == nil {
            for piece in records.pieces(of: id) {
                octets += file.octets(piece.count, at: piece.offset) ?? []
            }
        }
        for remains in records.damaged[id] ?? [] { octets += remains.octets }
        report.incomplete += 1
        keep(octets, "\(id)", reason)
    }

    /// Not synced: all of it is in the damaged file too, which stays.
    private func keep(_ octets: [UInt8], _ name: String, _ reason: String) {
        do throws(FileError) {
            _ = try quarantine.keep(octets, as: name, reason: reason, isSynced: false)
            events(.quarantined(name: name, reason: reason))
        } catch {
            events(.quarantined(name: name, reason: "\(reason); only in spool.mdb: \(error)"))
        }
    }

    /// How many messages the last transaction knew of.
    private var expectedCount: Int? {
        guard let root = file.metas.first?.mainTree.root, let page = file.page(root),
            case .leaf(let nodes) = page.kind
        else { return nil }
        let name = Array("envelope".utf8)
        guard let node = nodes.first(where: { page.octets[$0.key].elementsEqual(name) }),
            node.isTable, node.data.count == 48
        else { return nil }
        // md_entries of MDB_db.
        let count = page.octets.span.littleEndian(at: node.data.lowerBound + 32, as: UInt64.self)
        return Int(exactly: count)
    }

    // MARK: - The exchange

    /// The new file takes the place of the damaged one in one step, and not before that has a second
    /// name in quarantine.
    private func exchange() throws(FileError) {
        report.file = try quarantine.link(
            queue + "/spool.mdb", as: "spool.mdb", reason: report.reason)
        try FileSystem.move("\(queue)/\(Self.name)", to: queue + "/spool.mdb")
    }

    private func tidy() throws(FileError) {
        try Self.removeLeftovers(in: queue)
        try FileSystem.remove(queue + "/spool.mdb-lock")
        try FileSystem.syncDirectory(queue)
    }
}
