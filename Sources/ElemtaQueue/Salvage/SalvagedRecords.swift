import ElemtaSMTP

/// What a scan of a damaged spool has found, message by message.
final class SalvagedRecords {
    struct Envelope {
        let place: ContentPlace
        let contentOctets: UInt64
        let source: Source
        fileprivate let progress: Progress
    }

    enum Source {
        /// Octets of the damaged file.
        case range(offset: Int, count: Int)
        /// A record made from the copy of the envelope in a content file.
        case record([UInt8])
    }

    struct Piece {
        let id: MessageID
        let part: UInt32
        let offset: Int
        let count: Int
    }

    /// How far a version of an envelope has come. Of several the one that has come farthest counts.
    fileprivate struct Progress: Comparable {
        let settled: Int
        let latest: Int64
        let attempts: Int

        init(_ envelope: ElemtaQueue.Envelope) {
            settled = envelope.recipients.count { !$0.state.isPending }
            latest = envelope.attempts.last?.time.seconds ?? 0
            attempts = envelope.attempts.count
        }

        static func < (left: Progress, right: Progress) -> Bool {
            (left.settled, left.latest, left.attempts)
                < (right.settled, right.latest, right.attempts)
        }
    }

    private(set) var envelopes: [MessageID: Envelope] = [:]
    /// Sorted by message and part once `sortPieces` was called.
    private(set) var pieces: [Piece] = []
    /// Messages whose content files were to go.
    private(set) var removals: Set<MessageID> = []
    /// What was left of records: octets, and what is wrong with them.
    private(set) var damaged: [MessageID: [(octets: [UInt8], reason: String)]] = [:]
    /// The same where nothing tells whose they were.
    private(set) var nobodys: [(octets: [UInt8], reason: String)] = []
    private(set) var missing: Set<MessageID> = []
    private(set) var generation: UInt64 = 0
    /// The last entry of the journal that is known to have been in the tables: those behind it are brought
    /// there again.
    private(set) var applied: UInt64 = 0
    /// The greatest id that anything speaks of.
    private(set) var lastID = MessageID(rawValue: 0)

    func take(_ finding: RecordScan.Finding) {
        switch finding {
        case .whole(let header, let record, let offset): take(header, record, at: offset)
        case .damaged(let id?, let octets, let damage):
            damaged[id, default: []].append((octets, damage.description))
        case .damaged(nil, let octets, let damage):
            nobodys.append((octets, damage.description))
        case .missing(let id): missing.insert(id)
        }
    }

    private func take(_ header: RecordHeader, _ record: [UInt8], at offset: Int) {
        switch header.kind {
        case .envelope:
            do throws(RecordDamage) {
                let decoded = try EnvelopeRecord.decode(record.span, header)
                add(
                    decoded.envelope, decoded.place,
                    .range(offset: offset, count: record.count))
            } catch {
                damaged[header.id, default: []].append((record, error.description))
            }
        case .piece:
            pieces.append(
                Piece(id: header.id, part: header.part, offset: offset, count: record.count))
        case .removal: removals.insert(header.id)
        case .spoolState:
            guard let state = SpoolStore.decodeState(record.span) else { return }
            generation = max(generation, state.generation)
            lastID = max(lastID, state.lastID)
            applied = max(applied, state.applied)
        case .contentFile, .contentFileEnd: break
        }
        lastID = max(lastID, header.id)
    }

    /// Adds an envelope, unless one of the same message is there that has come farther.
    func add(_ envelope: ElemtaQueue.Envelope, _ place: ContentPlace, _ source: Source) {
        let found = Envelope(
            place: place, contentOctets: envelope.contentOctets, source: source,
            progress: Progress(envelope))
        if let other = envelopes[envelope.id], found.progress < other.progress { return }
        envelopes[envelope.id] = found
        lastID = max(lastID, envelope.id)
    }

    /// Puts the pieces in order; of those found twice one stays.
    func sortPieces() {
        pieces.sort { ($0.id, $0.part) < ($1.id, $1.part) }
        var kept: [Piece] = []
        kept.reserveCapacity(pieces.count)
        for piece in pieces {
            if let last = kept.last, last.id == piece.id, last.part == piece.part { continue }
            kept.append(piece)
        }
        pieces = kept
    }

    /// The pieces of a message, in order.
    func pieces(of id: MessageID) -> ArraySlice<Piece> {
        var low = 0
        var high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return pieces[low...].prefix { $0.id == id }
    }

    /// What keeps a message from being whole; nil: nothing.
    func defect(of id: MessageID) -> String? {
        guard let envelope = envelopes[id] else { return "its envelope is missing or damaged" }
        guard case .pieces(let count) = envelope.place else { return nil }
        let found = pieces(of: id)
        for (number, piece) in zip(0..., found) where piece.part != number {
            return "piece \(number) of \(count) of its content is missing or damaged"
        }
        guard found.count == Int(count) else {
            return "piece \(found.count) of \(count) of its content is missing or damaged"
        }
        let octets = found.reduce(0) { $0 + $1.count - RecordHeader.count }
        return UInt64(octets) == envelope.contentOctets ? nil : "its content is too short"
    }
}
