import ElemtaSMTP
import Glibc
import Synchronization

extension SpoolStore {
    // MARK: - Room

    /// Whether submissions of that many octets may be written: the file system keeps its minimum
    /// free and the map its margin. What is left is for the results of deliveries.
    func hasRoom(for octets: Int, minimumFree: UInt64?, _ shared: SpoolShared) -> Bool {
        guard let tables = try? opened() else { return false }
        let hasRoom =
            hasMapRoom(for: octets, tables.environment)
            && hasDiskRoom(minimumFree: minimumFree, shared)
        shared.isShort.store(!hasRoom, ordering: .relaxed)
        return hasRoom
    }

    /// LMDB says EIO when a write came out short, which is what a disk that is filling up does.
    func explained(_ error: LMDBError) -> LMDBError {
        guard error.code == EIO, isDiskFull else { return error }
        return LMDBError(operation: error.operation, code: ENOSPC)
    }

    /// Whether there is less room than LMDB may write at once: runs of 64 pages.
    var isDiskFull: Bool { FileSystem.room(at: path).map { $0.free < 1 << 20 } ?? false }

    private func hasMapRoom(for octets: Int, _ environment: LMDBEnvironment) -> Bool {
        let pageSize = environment.pageSize
        // Pieces, the pages of the trees above them, and as much again for what is rewritten.
        let needed = octets / Self.pieceRoom * 2 + 64
        let margin = min(environment.mapPages / 8, (16 << 20) / pageSize)
        let untouched = environment.mapPages - environment.usedPages
        if untouched >= needed + margin { return true }
        return untouched + reusablePages(environment) >= needed + margin
    }

    private func hasDiskRoom(minimumFree: UInt64?, _ shared: SpoolShared) -> Bool {
        guard let room = FileSystem.room(at: path) else { return true }
        let minimum = minimumFree ?? min(64 << 20, room.total / 50)
        if room.free >= minimum { return true }
        let reusable = reusableOctets()
        shared.reusable.store(reusable, ordering: .relaxed)
        return room.free + reusable >= minimum
    }

    /// Octets of pages that will be written again before the file grows.
    func reusableOctets() -> UInt64 {
        guard let environment = try? opened().environment else { return 0 }
        return UInt64(reusablePages(environment) * environment.pageSize)
    }

    private func reusablePages(_ environment: LMDBEnvironment) -> Int {
        guard let transaction = try? environment.beginReading() else { return 0 }
        return (try? transaction.freePages()) ?? 0
    }

    // MARK: - State of the spool

    private static let stateKey = RecordKey(MessageID(rawValue: 0))

    /// Starts a new generation of the spool.
    ///
    /// - Returns: the greatest id the spool knows of.
    func beginGeneration() throws(SpoolError) -> MessageID {
        do throws(LMDBError) {
            let tables = try opened()
            let transaction = try tables.environment.beginReading()
            var lastID = MessageID(rawValue: 0)
            let state = try transaction.withValue(of: Self.stateKey, in: tables.state) { record in
                Self.decodeState(record)
            }
            if let state = state ?? nil {
                (generation, lastID, applied) = (state.generation, state.lastID, state.applied)
            }
            let last = try transaction.cursor(in: tables.envelope).last { key, _ in
                RecordKey(key)?.messageID
            }
            if let last = last ?? nil { lastID = max(lastID, last) }
            generation += 1
            return lastID
        } catch {
            throw SpoolError(error)
        }
    }

    static func decodeState(
        _ record: Span<UInt8>
    ) -> (generation: UInt64, lastID: MessageID, applied: UInt64)? {
        try? OctetReader.reading(record) { reader throws(RecordDamage) in
            _ = try RecordHeader.verify(
                record, is: .spoolState, of: MessageID(rawValue: 0))
            reader.skip(RecordHeader.count)
            let generation = try reader.integer("generation")
            let lastID = MessageID(rawValue: try reader.integer("greatest id"))
            // Not there in a spool of version 0.1.
            let applied = reader.remaining > 0 ? try reader.integer("journal") : 0
            return (generation, lastID, applied)
        }
    }

    /// Keeps generation and greatest id for the next start.
    func saveState(lastID: MessageID) throws(SpoolError) {
        try write { transaction, tables throws(LMDBError) in
            try putState(lastID: lastID, applied: applied, transaction, tables)
        }
    }

    /// - Parameter applied: the number of the last entry of the journal that is in the tables.
    func putState(
        lastID: MessageID, applied: UInt64, _ transaction: borrowing WriteTransaction,
        _ tables: Tables
    ) throws(LMDBError) {
        var payload = OctetWriter()
        payload.put(generation)
        payload.put(lastID.rawValue)
        payload.put(applied)
        let octets = payload.octets
        // Safe because all of the record is written before anything else is.
        let record = try unsafe transaction.reserve(
            Self.stateKey, in: tables.state, count: RecordHeader.count + octets.count,
            .replacing)
        unsafe record.copy(octets.span, at: RecordHeader.count)
        unsafe RecordHeader(
            kind: .spoolState, id: MessageID(rawValue: 0), part: 0,
            length: UInt32(octets.count)
        ).seal(record)
    }

    // MARK: - Damage

    /// Looks at every envelope record; those that aren't what was written are named.
    func damagedRecords() throws(SpoolError) -> [(id: MessageID, reason: String)] {
        try reading { transaction, tables throws(SpoolError) in
            var damaged: [(id: MessageID, reason: String)] = []
            try Self.walk(transaction, tables.envelope) { key, record in
                do throws(RecordDamage) {
                    _ = try RecordHeader.verify(record, is: .envelope, of: key.messageID)
                } catch {
                    damaged.append((key.messageID, "envelope: \(error)"))
                }
            }
            return damaged
        }
    }

    /// Visits every record of a table.
    ///
    /// - Throws: `.unreadable` also when the walk comes to an end that isn't the table's, or in a
    ///   circle, or to a page that can't be removed: LMDB doesn't see that from inside of a damaged
    ///   tree.
    static func walk(
        _ transaction: borrowing ReadTransaction, _ table: LMDBTable,
        _ visit: (RecordKey, Span<UInt8>) -> Void
    ) throws(SpoolError) {
        do throws(LMDBError) {
            let cursor = try transaction.cursor(in: table)
            let pageSize = try transaction.pageSize()
            let start = try transaction.mapStart(pageSize: pageSize)
            var count = 0
            var last: RecordKey?
            let step: LMDBCursor.Visit<Bool> = { key, record in
                guard let key = RecordKey(key),
                    PageHeader(of: record, pageSize: pageSize).isSound(inMapAt: start)
                else { return false }
                if let last, !(last < key) { return false }
                last = key
                count += 1
                visit(key, record)
                return true
            }
            var found = try cursor.first(step)
            while found == true { found = try cursor.next(step) }
            guard found == nil, count == (try transaction.count(of: table)) else {
                throw LMDBError(
                    operation: "a table with other records than it should have",
                    code: LMDBError.corrupted)
            }
        } catch {
            throw SpoolError(error)
        }
    }

    /// Everything the tables hold of a message, as it is: records describe themselves, so that one
    /// file can hold them all.
    static func rawRecords(
        of id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(LMDBError) -> [UInt8] {
        var octets =
            try transaction.withValue(of: RecordKey(id), in: tables.envelope) { $0.copied } ?? []
        let cursor = try transaction.cursor(in: tables.content)
        let collect: LMDBCursor.Visit<Bool> = { key, record in
            guard RecordKey(key)?.messageID == id else { return false }
            octets += record.copied
            return true
        }
        var found = try cursor.seek(RecordKey(id, part: 0), collect)
        while found == true { found = try cursor.next(collect) }
        return octets
    }

    /// Whether LMDB can remove everything that is on disk of a message.
    func isRemovable(_ id: MessageID) throws(LMDBError) -> Bool {
        let tables = try opened()
        let transaction = try tables.environment.beginReading()
        let pageSize = try transaction.pageSize()
        let start = try transaction.mapStart(pageSize: pageSize)
        let envelope = try transaction.withValue(of: RecordKey(id), in: tables.envelope) { record in
            PageHeader(of: record, pageSize: pageSize).isSound(inMapAt: start)
        }
        var isSound = envelope != false
        let look: LMDBCursor.Visit<Bool> = { key, record in
            guard let key = RecordKey(key), key.messageID == id else { return false }
            isSound =
                isSound && PageHeader(of: record, pageSize: pageSize).isSound(inMapAt: start)
            return true
        }
        let cursor = try transaction.cursor(in: tables.content)
        var found = try cursor.seek(RecordKey(id, part: 0), look)
        while found == true { found = try cursor.next(look) }
        return isSound
    }

    /// Removes everything the tables hold of a message, however it looks.
    static func removeRaw(
        _ id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(LMDBError) {
        try transaction.delete(RecordKey(id), from: tables.envelope)
        for key in try pieceKeys(of: id, transaction, tables) {
            try transaction.delete(key, from: tables.content)
        }
    }

    private static func pieceKeys(
        of id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(LMDBError) -> [RecordKey] {
        var keys: [RecordKey] = []
        let cursor = try transaction.cursor(in: tables.content)
        let collect: LMDBCursor.Visit<Bool> = { key, _ in
            guard let key = RecordKey(key), key.messageID == id else { return false }
            keys.append(key)
            return true
        }
        var found = try cursor.seek(RecordKey(id, part: 0), collect)
        while found == true { found = try cursor.next(collect) }
        return keys
    }

    /// Removes a message that a failed commit may have left.
    func removeIfThere(_ id: MessageID) throws(SpoolError) {
        try write { transaction, tables throws(LMDBError) in
            try Self.removeRaw(id, transaction, tables)
        }
    }

    /// Unlinks the content files of messages that are gone.
    ///
    /// - Returns: those whose file is gone too. The others keep their note: the next start tries again.
    func removeContentFiles(of ids: [MessageID]) -> [MessageID] {
        ids.filter { (try? FileSystem.remove(ContentFileLayout.path(path, $0))) != nil }
    }

    /// Makes the unlinking of content files durable and removes the notes about it.
    func forgetRemovals(_ ids: [MessageID]) throws(SpoolError) {
        do throws(FileError) {
            for directory in Set(ids.map { ContentFileLayout.directory(path, $0) }) {
                try FileSystem.syncDirectory(directory)
            }
        } catch {
            throw error.spoolError
        }
        try write { transaction, tables throws(LMDBError) in
            for id in ids { try transaction.delete(RecordKey(id), from: tables.removal) }
        }
    }

    /// The first octets of a message's content, for a report.
    func beginningOfContent(
        of envelope: Envelope, _ place: ContentPlace, limit: Int,
        _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(SpoolError) -> [UInt8] {
        switch place {
        case .inline:
            return try Self.envelope(envelope.id, transaction, tables) { record, decoded in
                record.extracting(decoded.contentOffset...).copied
            }.1
        case .pieces(let count):
            try Self.check(count, of: envelope)
            return try Self.pieces(
                of: envelope.id, octets: envelope.contentOctets, limit: limit, transaction, tables)
        case .file:
            do throws(FileError) {
                let file = try OpenFile(ContentFileLayout.path(path, envelope.id), O_RDONLY)
                guard
                    case .whole(let place, _, _) = try ContentFileLayout.inspect(
                        file, id: envelope.id)
                else { throw FileError(operation: "content file", code: EBADMSG) }
                return try file.read(
                    min(limit, Int(place.octetCount)), at: Int(place.offset))
            } catch {
                throw error.spoolError
            }
        }
    }
}
