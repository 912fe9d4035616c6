import ElemtaSMTP

/// Why a change of one message failed.
enum ChangeFailure: Error {
    /// The message's own fault; the transaction can go on without it.
    case message(SpoolError)
    /// The message's record isn't what was written; the transaction can go on without it.
    case damage(RecordDamage)
    /// The transaction is lost.
    case transaction(LMDBError)
}

/// Changes messages inside one write transaction. Lives on the spool thread from batch to batch,
/// so that its buffers are made once.
struct MessageWriter {
    private var buffer = OctetWriter()
    private var inlineContent: [UInt8] = []
    /// The greatest keys there are: what is greater is appended without a search.
    private var lastEnvelope = MessageID(rawValue: 0)
    private var lastPiece = MessageID(rawValue: 0)
    private var committedLast = (envelope: MessageID(rawValue: 0), piece: MessageID(rawValue: 0))

    typealias Tables = SpoolStore.Tables

    /// Learns where the tables end.
    mutating func begin(
        _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(LMDBError) {
        lastEnvelope = try Self.lastKey(transaction, tables.envelope)
        lastPiece = try Self.lastKey(transaction, tables.content)
        committedLast = (lastEnvelope, lastPiece)
    }

    /// The transaction has been committed.
    mutating func committed() { committedLast = (lastEnvelope, lastPiece) }

    /// The transaction has left no trace.
    mutating func abandoned() { (lastEnvelope, lastPiece) = committedLast }

    private static func lastKey(
        _ transaction: borrowing WriteTransaction, _ table: LMDBTable
    ) throws(LMDBError) -> MessageID {
        let key = try transaction.cursor(in: table).last { key, _ in RecordKey(key)?.messageID }
        return (key ?? nil) ?? MessageID(rawValue: 0)
    }

    // MARK: - New messages

    /// Stores a new message. `envelope.contentOctets` becomes what the content says.
    mutating func insert(
        _ envelope: inout Envelope, _ content: SubmittedContent,
        _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(ChangeFailure) -> ContentPlace {
        switch content {
        case .file(let file):
            guard file.id == envelope.id else { throw .message(.contentMismatch) }
            envelope.contentOctets = file.octetCount
            try insert(envelope, .file, inline: nil, transaction, tables)
            return .file
        case .inMemory(let octets):
            let count = octets.octetCount
            envelope.contentOctets = UInt64(count)
            buffer.reset()
            EnvelopeCodec.encode(envelope, place: .inline, into: &buffer)
            if RecordHeader.count + buffer.count + count <= SpoolStore.pageRoom {
                try insert(envelope, .inline, inline: octets, transaction, tables)
                return .inline
            }
            let pieces = (count + SpoolStore.pieceRoom - 1) / SpoolStore.pieceRoom
            let place = ContentPlace.pieces(UInt32(pieces))
            try insert(envelope, place, inline: nil, transaction, tables)
            try insertPieces(octets, pieces, of: envelope.id, transaction, tables)
            return place
        }
    }

    private mutating func insert(
        _ envelope: Envelope, _ place: ContentPlace, inline: (any SpoolContent)?,
        _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(ChangeFailure) {
        if inline == nil {
            buffer.reset()
            EnvelopeCodec.encode(envelope, place: place, into: &buffer)
        }
        guard buffer.count <= EnvelopeCodec.maximumOctets else {
            throw .message(.envelopeTooLarge)
        }
        let id = envelope.id
        let inlineCount = inline?.octetCount ?? 0
        let isLast = id > lastEnvelope
        do throws(LMDBError) {
            // Safe because all of the record is written here, before anything else is.
            let record = try unsafe transaction.reserve(
                RecordKey(id), in: tables.envelope,
                count: RecordHeader.count + buffer.count + inlineCount, isLast ? .last : .new)
            unsafe record.copy(buffer.octets.span, at: RecordHeader.count)
            var isComplete = true
            if let inline {
                var filler = unsafe PieceFiller(record, at: RecordHeader.count + buffer.count)
                inline.forEachSegment { filler.take($0) }
                isComplete = filler.isExact
            }
            unsafe seal(record, id, inlineCount: inlineCount)
            if isLast { lastEnvelope = id }
            if isComplete { return }
            try transaction.delete(RecordKey(id), from: tables.envelope)
        } catch {
            throw Self.failure(error, id)
        }
        throw .message(.contentMismatch)
    }

    private func seal(
        _ record: UnsafeMutableRawBufferPointer, _ id: MessageID, inlineCount: Int
    ) {
        unsafe RecordHeader(
            kind: .envelope, id: id, part: UInt32(inlineCount),
            length: UInt32(record.count - RecordHeader.count)
        ).seal(record)
    }

    private mutating func insertPieces(
        _ content: any SpoolContent, _ pieces: Int, of id: MessageID,
        _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(ChangeFailure) {
        let isLast = id > lastPiece
        var next: UInt32 = 0
        var left = content.octetCount
        var failure: LMDBError?
        var filler: PieceFiller?
        content.forEachSegment { segment in
            var taken = 0
            while failure == nil, taken < segment.count {
                if filler?.isFull ?? true {
                    unsafe filler?.seal(id, part: next &- 1)
                    // More octets than were promised: there is no piece for them.
                    guard next < pieces else {
                        filler?.overflow()
                        return
                    }
                    let room = min(left, SpoolStore.pieceRoom)
                    do throws(LMDBError) {
                        // Safe because the piece before is sealed: nothing points at it any more.
                        let record = try unsafe transaction.reserve(
                            RecordKey(id, part: next), in: tables.content,
                            count: RecordHeader.count + room, isLast ? .last : .new)
                        unsafe filler = PieceFiller(record, at: RecordHeader.count)
                    } catch {
                        failure = error
                        return
                    }
                    left -= room
                    next += 1
                }
                taken += filler?.take(segment.extracting(taken...), allowingMore: true) ?? 0
            }
        }
        if let failure {
            let reason = Self.failure(failure, id)
            // The transaction goes on without the message: nothing of it may stay.
            if case .message = reason {
                _ = try remove(id, .pieces(next), transaction, tables)
            }
            throw reason
        }
        let isExact = next == pieces && (filler?.isExact ?? (pieces == 0))
        unsafe filler?.seal(id, part: next &- 1)
        if isLast, pieces > 0 { lastPiece = id }
        guard !isExact else { return }
        _ = try remove(id, .pieces(next), transaction, tables)
        throw .message(.contentMismatch)
    }

    private static func failure(_ error: LMDBError, _ id: MessageID) -> ChangeFailure {
        switch error.kind {
        // These two are found before anything is written.
        case .exists: .message(.duplicate(id))
        case .invalidValue: .message(.envelopeTooLarge)
        case .full, .transactionTooLarge, .broken, .damaged: .transaction(error)
        }
    }

    // MARK: - Queued messages

    /// Removes envelope and pieces. A content file is only noted down for removal: it goes after
    /// the commit, and the note makes sure that it goes even if we don't live to see that.
    ///
    /// - Returns: false when there was no such message.
    func remove(
        _ id: MessageID, _ place: ContentPlace, _ transaction: borrowing WriteTransaction,
        _ tables: Tables
    ) throws(ChangeFailure) -> Bool {
        do throws(LMDBError) {
            guard try transaction.delete(RecordKey(id), from: tables.envelope) else { return false }
            switch place {
            case .inline: break
            case .pieces(let count):
                for part in 0..<count {
                    try transaction.delete(RecordKey(id, part: part), from: tables.content)
                }
            case .file: try Self.noteRemoval(of: id, transaction, tables)
            }
            return true
        } catch {
            throw .transaction(error)
        }
    }

    /// Notes down that the content file of a message is to go.
    static func noteRemoval(
        of id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(LMDBError) {
        // Safe because the record is all header.
        let record = try unsafe transaction.reserve(
            RecordKey(id), in: tables.removal, count: RecordHeader.count, .replacing)
        unsafe RecordHeader(kind: .removal, id: id, part: 0, length: 0).seal(record)
    }

    /// Writes an envelope in place of the one there is; its content stays as it is.
    mutating func replace(
        _ envelope: Envelope, _ place: ContentPlace, _ transaction: borrowing WriteTransaction,
        _ tables: Tables
    ) throws(ChangeFailure) {
        inlineContent.removeAll(keepingCapacity: true)
        if place == .inline {
            let found: Void? = try read(envelope.id, transaction, tables) { record, header in
                let content = record.extracting((record.count - Int(header.part))...)
                // Safe because the array copies what the buffer lends.
                unsafe content.withUnsafeBufferPointer {
                    unsafe inlineContent.append(contentsOf: $0)
                }
            }
            guard found != nil else { throw .message(.unknownMessage(envelope.id)) }
        }
        buffer.reset()
        EnvelopeCodec.encode(envelope, place: place, into: &buffer)
        do throws(LMDBError) {
            // Safe because all of the record is written here, before anything else is.
            let record = try unsafe transaction.reserve(
                RecordKey(envelope.id), in: tables.envelope,
                count: RecordHeader.count + buffer.count + inlineContent.count, .replacing)
            unsafe record.copy(buffer.octets.span, at: RecordHeader.count)
            unsafe record.copy(inlineContent.span, at: RecordHeader.count + buffer.count)
            unsafe seal(record, envelope.id, inlineCount: inlineContent.count)
        } catch {
            throw .transaction(error)
        }
    }

    /// Reads a queued message's envelope; nil when there is none.
    func load(
        _ id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: Tables
    ) throws(ChangeFailure) -> (envelope: Envelope, place: ContentPlace)? {
        let read = try read(id, transaction, tables) { record, header in
            Result { () throws(RecordDamage) in
                try EnvelopeRecord.decode(record, header)
            }
        }
        switch read {
        case nil: return nil
        case .success(let found): return (found.envelope, found.place)
        case .failure(let damage): throw .damage(damage)
        }
    }

    private func read<R>(
        _ id: MessageID, _ transaction: borrowing WriteTransaction, _ tables: Tables,
        _ body: (Span<UInt8>, RecordHeader) -> R
    ) throws(ChangeFailure) -> R? {
        let result: Result<R, RecordDamage>?
        do throws(LMDBError) {
            result = try transaction.withValue(of: RecordKey(id), in: tables.envelope) { record in
                Result { () throws(RecordDamage) in
                    body(record, try RecordHeader.verify(record, is: .envelope, of: id))
                }
            }
        } catch {
            throw .transaction(error)
        }
        switch result {
        case nil: return nil
        case .success(let value): return value
        case .failure(let damage): throw .damage(damage)
        }
    }
}

/// Fills one reserved record with octets that come in runs of any length, and never beyond it.
@safe private struct PieceFiller {
    // Safe because a filler lives only between the reservation and the next write.
    private let record: UnsafeMutableRawBufferPointer
    private var position: Int
    private var hasOverflown = false

    @unsafe init(_ record: UnsafeMutableRawBufferPointer, at position: Int) {
        unsafe self.record = record
        self.position = position
    }

    var isFull: Bool { unsafe position == record.count }
    /// Neither fewer octets nor more came than there was room for.
    var isExact: Bool { isFull && !hasOverflown }

    mutating func overflow() { hasOverflown = true }

    /// Copies what fits and returns how much that was.
    @discardableResult
    mutating func take(_ octets: Span<UInt8>, allowingMore: Bool = false) -> Int {
        let count = unsafe min(octets.count, record.count - position)
        unsafe record.copy(octets.extracting(..<count), at: position)
        position += count
        if count < octets.count, !allowingMore { hasOverflown = true }
        return count
    }

    /// Zeroes what was not filled, and seals the piece.
    @unsafe mutating func seal(_ id: MessageID, part: UInt32) {
        while unsafe position < record.count {
            unsafe record[position] = 0
            position += 1
        }
        let length = unsafe UInt32(record.count - RecordHeader.count)
        unsafe RecordHeader(kind: .piece, id: id, part: part, length: length).seal(record)
    }
}
