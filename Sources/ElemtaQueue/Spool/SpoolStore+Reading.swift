import ElemtaSMTP
import Glibc

extension SpoolStore {
    /// Reads a message with its content. Content in LMDB is copied out; a content file is verified
    /// and named. Any thread.
    ///
    /// - Throws: `.unknownMessage`, `.damaged` or `.storage`.
    func read(_ id: MessageID) throws(SpoolError) -> StoredMessage {
        let (envelope, octets) = try find(id)
        if let octets { return StoredMessage(envelope: envelope, content: .memory(octets)) }
        return StoredMessage(envelope: envelope, content: .file(try contentFile(of: envelope)))
    }

    /// Reads a message; its content too, unless that is in a file (nil).
    ///
    /// - Throws: as `read`.
    func find(_ id: MessageID) throws(SpoolError) -> (envelope: Envelope, octets: [UInt8]?) {
        let (decoded, octets) = try reading {
            transaction, tables throws(SpoolError) -> (EnvelopeRecord.Decoded, [UInt8]) in
            let found = try Self.envelope(id, transaction, tables) { record, decoded in
                decoded.place == .inline
                    ? record.extracting(decoded.contentOffset...).copied : []
            }
            guard case .pieces(let count) = found.0.place else { return found }
            let octets = try Self.pieces(count, of: found.0.envelope, transaction, tables)
            return (found.0, octets)
        }
        switch decoded.place {
        case .inline, .pieces: return (decoded.envelope, octets)
        case .file: return (decoded.envelope, nil)
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

    /// Puts the pieces of a message's content together, at most `limit` octets of it.
    static func pieces(
        _ count: UInt32, of envelope: Envelope, limit: Int = .max,
        _ transaction: borrowing some LMDBReading & ~Copyable, _ tables: Tables
    ) throws(SpoolError) -> [UInt8] {
        let id = envelope.id
        let expected = (envelope.contentOctets + UInt64(pieceRoom) - 1) / UInt64(pieceRoom)
        guard UInt64(count) == expected else { throw .damaged(id, "number of pieces") }
        var octets: [UInt8] = []
        octets.reserveCapacity(min(Int(envelope.contentOctets), limit))
        for part in 0..<count where octets.count < limit {
            let damage: RecordDamage??
            do throws(LMDBError) {
                damage = try transaction.withValue(
                    of: RecordKey(id, part: part), in: tables.content
                ) { record in Self.append(record, id, part, to: &octets) }
            } catch {
                throw SpoolError(error)
            }
            switch damage {
            case nil: throw .damaged(id, "piece \(part) is missing")
            case .some(.some(let damage)): throw .damaged(id, "piece \(part): \(damage)")
            case .some(.none): break
            }
        }
        guard octets.count >= limit || UInt64(octets.count) == envelope.contentOctets else {
            throw .damaged(id, "length of the content")
        }
        return octets
    }

    private static func append(
        _ record: Span<UInt8>, _ id: MessageID, _ part: UInt32, to octets: inout [UInt8]
    ) -> RecordDamage? {
        do throws(RecordDamage) {
            let header = try RecordHeader.verify(record, is: .piece, of: id)
            guard header.part == part else { throw .malformed("piece number") }
            // Safe because the array copies what the buffer lends.
            unsafe record.extracting(RecordHeader.count...).withUnsafeBufferPointer {
                unsafe octets.append(contentsOf: $0)
            }
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
