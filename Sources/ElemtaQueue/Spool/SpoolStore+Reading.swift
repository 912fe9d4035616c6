import ElemtaSMTP
import Glibc

extension SpoolStore {
    /// Reads a message with its content. Content in LMDB is copied out; a content file is verified
    /// and named. Any thread.
    ///
    /// - Throws: `.unknownMessage`, `.damaged` or `.storage`.
    func read(_ id: MessageID) throws(SpoolError) -> StoredMessage {
        let (envelope, content) = try find(id, copying: .max)
        if case .memory(let octets) = content {
            return StoredMessage(envelope: envelope, content: .memory(octets))
        }
        return StoredMessage(envelope: envelope, content: .file(try contentFile(of: envelope)))
    }

    /// Reads a message; its content too, where that is in LMDB and has at most `limit` octets.
    ///
    /// - Throws: as `read`.
    func find(
        _ id: MessageID, copying limit: UInt64
    ) throws(SpoolError) -> (envelope: Envelope, content: FoundContent) {
        try reading { transaction, tables throws(SpoolError) -> (Envelope, FoundContent) in
            let (decoded, inline) = try Self.envelope(id, transaction, tables) { record, decoded in
                decoded.place == .inline
                    ? record.extracting(decoded.contentOffset...).copied : []
            }
            let envelope = decoded.envelope
            switch decoded.place {
            case .inline: return (envelope, .memory(inline))
            case .file: return (envelope, .file)
            case .pieces(let count):
                try Self.check(count, of: envelope)
                guard envelope.contentOctets <= limit else { return (envelope, .pieces) }
                let octets = try Self.pieces(
                    of: id, octets: envelope.contentOctets, transaction, tables)
                return (envelope, .memory(octets))
            }
        }
    }

    /// Octets of the content of a message, which is in pieces and has so many octets, from
    /// `position` on: at least one and at most `blockCount`; none behind its end. Any thread.
    ///
    /// - Throws: as `read`.
    func block(
        of id: MessageID, octets: UInt64, at position: Int
    ) throws(SpoolError) -> [UInt8] {
        try reading { transaction, tables throws(SpoolError) in
            try Self.pieces(
                of: id, octets: octets, from: position, limit: Self.blockCount, transaction, tables)
        }
    }

    /// Reads an envelope alone. Any thread.
    func envelope(_ id: MessageID) throws(SpoolError) -> EnvelopeRecord.Decoded {
        try reading { transaction, tables throws(SpoolError) in
            try Self.envelope(id, transaction, tables) { _, _ in }.0
        }
    }

    static func envelope<R>(
        _ id: MessageID, _ transaction: borrowing some LMDBReading & ~Copyable, _ tables: Tables,
        _ body: (Span<UInt8>, EnvelopeRecord.Decoded) -> R
    ) throws(SpoolError) -> (EnvelopeRecord.Decoded, R) {
        let result: Result<(EnvelopeRecord.Decoded, R), RecordDamage>?
        do throws(LMDBError) {
            result = try transaction.withValue(of: RecordKey(id), in: tables.envelope) { record in
                Result { () throws(RecordDamage) in
                    let decoded = try EnvelopeRecord.decode(record, id: id)
                    return (decoded, body(record, decoded))
                }
            }
        } catch {
            throw SpoolError(error)
        }
        switch result {
        case nil: throw .unknownMessage(id)
        case .failure(let damage): throw .damaged(id, "envelope: \(damage)")
        case .success(let found): return found
        }
    }

    /// A message's content has as many pieces as its octets take.
    static func check(_ pieces: UInt32, of envelope: Envelope) throws(SpoolError) {
        let expected = (envelope.contentOctets + UInt64(pieceRoom) - 1) / UInt64(pieceRoom)
        guard UInt64(pieces) == expected else { throw .damaged(envelope.id, "number of pieces") }
    }

    /// Puts together what is in the pieces of a message's content, `total` octets, from `position`
    /// on: at most `limit` octets of it.
    static func pieces(
        of id: MessageID, octets total: UInt64, from position: Int = 0, limit: Int = .max,
        _ transaction: borrowing some LMDBReading & ~Copyable, _ tables: Tables
    ) throws(SpoolError) -> [UInt8] {
        let total = Int(total)
        let wanted = min(limit, total - position)
        guard wanted > 0 else { return [] }
        var octets: [UInt8] = []
        octets.reserveCapacity(wanted)
        while octets.count < wanted {
            let next = position + octets.count
            let part = next / pieceRoom
            let start = next % pieceRoom
            let room = min(pieceRoom, total - part * pieceRoom)
            let run = start..<min(room, start + wanted - octets.count)
            let damage: RecordDamage??
            do throws(LMDBError) {
                damage = try transaction.withValue(
                    of: RecordKey(id, part: UInt32(part)), in: tables.content
                ) { record in Self.append(run, of: record, id, part, holding: room, to: &octets) }
            } catch {
                throw SpoolError(error)
            }
            switch damage {
            case nil: throw try missing(part, of: id, transaction, tables)
            case .some(.some(let damage)): throw .damaged(id, "piece \(part): \(damage)")
            case .some(.none): break
            }
        }
        return octets
    }

    /// Why a piece isn't there: it has left the queue with its message, or is lost.
    private static func missing(
        _ part: Int, of id: MessageID, _ transaction: borrowing some LMDBReading & ~Copyable,
        _ tables: Tables
    ) throws(SpoolError) -> SpoolError {
        let isQueued: Void?
        do throws(LMDBError) {
            isQueued = try transaction.withValue(of: RecordKey(id), in: tables.envelope) { _ in }
        } catch {
            throw SpoolError(error)
        }
        return isQueued == nil ? .unknownMessage(id) : .damaged(id, "piece \(part) is missing")
    }

    private static func append(
        _ run: Range<Int>, of record: Span<UInt8>, _ id: MessageID, _ part: Int,
        holding count: Int, to octets: inout [UInt8]
    ) -> RecordDamage? {
        do throws(RecordDamage) {
            let header = try RecordHeader.verify(record, is: .piece, of: id)
            guard Int(header.part) == part else { throw .malformed("piece number") }
            guard Int(header.length) == count else { throw .wrongLength }
            // Safe because the array copies what the buffer lends.
            unsafe record.extracting(RecordHeader.count...).extracting(run)
                .withUnsafeBufferPointer { unsafe octets.append(contentsOf: $0) }
            return nil
        } catch {
            return error
        }
    }

    /// Finds the content file of a message and checks all of it.
    func contentFile(of envelope: Envelope) throws(SpoolError) -> StoredContentFile {
        try withContentFile(of: envelope.id, octets: envelope.contentOctets) { _, place in place }
    }

    /// Finds the content file of a message, checks all of it and lends it open.
    func withContentFile<R: ~Copyable>(
        of id: MessageID, octets: UInt64,
        _ body: (borrowing OpenFile, StoredContentFile) throws(FileError) -> R
    ) throws(SpoolError) -> R {
        do throws(FileError) {
            let file = try OpenFile(ContentFileLayout.path(path, id), O_RDONLY)
            switch try ContentFileLayout.inspect(file, id: id) {
            case .whole(let place, let checksum, _):
                guard place.octetCount == octets,
                    try ContentFileLayout.verify(file, place, checksum: checksum)
                else { throw FileError(operation: "checksum", code: EBADMSG) }
                return try body(file, place)
            case .unfinished: throw FileError(operation: "end mark", code: EBADMSG)
            case .damaged(let damage):
                throw FileError(operation: damage.description, code: EBADMSG)
            }
        } catch {
            switch error.code {
            case ENOENT: throw .damaged(id, "content file is missing")
            case EBADMSG: throw .damaged(id, "content file: \(error.operation)")
            default: throw error.spoolError
            }
        }
    }
}
