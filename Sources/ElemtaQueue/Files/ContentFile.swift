import Glibc
import Synchronization

/// A content file that is whole and synced: what `ContentFileWriter.finish` returns and a
/// submission hands to the spool. Dropped before that it is removed: the client went while its
/// content was being synced, and nobody was told 250.
public final class FinishedContentFile: Sendable {
    public let id: MessageID
    /// Octets of content.
    public let octetCount: UInt64
    let path: String
    private let isHandedOver = Atomic(false)

    init(id: MessageID, octetCount: UInt64, path: String) {
        self.id = id
        self.octetCount = octetCount
        self.path = path
    }

    deinit {
        if !isHandedOver.load(ordering: .relaxed) { discard() }
    }

    /// The spool has it: before a commit can refer to it.
    func handOver() { isHandedOver.store(true, ordering: .relaxed) }

    /// Removes the file of a message that was not accepted after all.
    public func discard() { try? FileSystem.remove(path) }
}

/// Where in a file the content of a message lies; checked against its checksum.
public struct StoredContentFile: Hashable, Sendable {
    public let path: String
    /// Octets before the content.
    public let offset: UInt64
    /// Octets of content.
    public let octetCount: UInt64
}

/// The layout of `content/xx/ID`: a header record, the content, an end record.
///
/// The header's payload is the spool generation and a copy of the envelope; the end's is the
/// number of octets between and the checksum of them. `xx` are the last two characters of the
/// id, which are random.
enum ContentFileLayout {
    static let endCount = RecordHeader.count + 16
    /// The checksum is chained over blocks of this many octets. A writer holds up to one of them, for
    /// every message that arrives: small ones keep thousands of those small.
    static let blockCount = 1 << 13

    static func directory(_ queue: String, _ id: MessageID) -> String {
        "\(queue)/content/\(id.description.suffix(2))"
    }

    static func path(_ queue: String, _ id: MessageID) -> String {
        "\(directory(queue, id))/\(id)"
    }

    static func header(_ envelope: Envelope, generation: UInt64) -> [UInt8] {
        var writer = OctetWriter()
        writer.put(generation)
        EnvelopeCodec.encode(envelope, place: .file, into: &writer)
        return record(.contentFile, envelope.id, writer.octets)
    }

    static func end(_ id: MessageID, octets: UInt64, checksum: UInt64) -> [UInt8] {
        var payload = [UInt8](repeating: 0, count: 16)
        // Safe because the two integers are the 16 octets of the payload.
        unsafe payload.withUnsafeMutableBytes { buffer in
            unsafe buffer.storeLittleEndian(octets, at: 0)
            unsafe buffer.storeLittleEndian(checksum, at: 8)
        }
        return record(.contentFileEnd, id, payload)
    }

    private static func record(
        _ kind: RecordKind, _ id: MessageID, _ payload: [UInt8]
    ) -> [UInt8] {
        var octets = [UInt8](repeating: 0, count: RecordHeader.count)
        octets.append(contentsOf: payload)
        let header = RecordHeader(kind: kind, id: id, part: 0, length: UInt32(payload.count))
        // Safe because the buffer is the whole record.
        unsafe octets.withUnsafeMutableBytes { unsafe header.seal($0) }
        return octets
    }

    /// What a look at both ends of a file tells.
    enum Inspection: Equatable {
        case whole(StoredContentFile, checksum: UInt64, generation: UInt64)
        /// Without an end mark: it was never finished, nobody was told 250.
        case unfinished
        /// With an end mark, but not what it should be.
        case damaged(RecordDamage)
    }

    static func inspect(_ file: borrowing OpenFile, id: MessageID) throws(FileError) -> Inspection {
        let size = try file.size
        guard size >= endCount else { return .unfinished }
        let tail = try file.read(endCount, at: size - endCount)
        let octets: UInt64
        let checksum: UInt64
        do throws(RecordDamage) {
            _ = try RecordHeader.verify(tail.span, is: .contentFileEnd, of: id)
            octets = tail.span.littleEndian(at: RecordHeader.count, as: UInt64.self)
            checksum = tail.span.littleEndian(at: RecordHeader.count + 8, as: UInt64.self)
        } catch {
            switch error {
            // An end of another message, or one that has been damaged, is an end all the same.
            case .wrongID, .wrongChecksum, .wrongLength, .unknownVersion: return .damaged(error)
            case .tooShort, .wrongMagic, .wrongKind, .malformed, .missing: return .unfinished
            }
        }
        guard octets <= UInt64(size - endCount) else { return .damaged(.wrongLength) }
        let offset = size - endCount - Int(octets)
        guard offset <= EnvelopeCodec.maximumOctets + 64 else { return .damaged(.wrongLength) }
        let header = try file.read(offset, at: 0)
        do throws(RecordDamage) {
            _ = try RecordHeader.verify(header.span, is: .contentFile, of: id)
            let payload = header.span.extracting(RecordHeader.count...)
            let generation = try OctetReader.reading(payload) { reader throws(RecordDamage) in
                try reader.integer("spool generation")
            }
            let place = StoredContentFile(
                path: file.path, offset: UInt64(offset), octetCount: octets)
            return .whole(place, checksum: checksum, generation: generation)
        } catch {
            return .damaged(error)
        }
    }

    /// The copy of its message's envelope in a file that `inspect` found whole.
    static func envelope(
        in file: borrowing OpenFile, _ place: StoredContentFile, id: MessageID
    ) -> Envelope? {
        guard let header = try? file.read(Int(place.offset), at: 0),
            header.count > RecordHeader.count
        else { return nil }
        let payload = header.span.extracting(RecordHeader.count...)
        let start = try? OctetReader.reading(payload) { reader throws(RecordDamage) in
            _ = try reader.integer("spool generation")
            return reader.position
        }
        guard let start else { return nil }
        return try? EnvelopeCodec.decode(payload.extracting(start...), id: id).envelope
    }

    /// Reads all of the content and compares its checksum.
    static func verify(
        _ file: borrowing OpenFile, _ place: StoredContentFile, checksum: UInt64
    ) throws(FileError) -> Bool {
        var sum: UInt64 = 0
        var position = Int(place.offset)
        let end = position + Int(place.octetCount)
        while position < end {
            let block = try file.read(min(blockCount, end - position), at: position)
            if block.isEmpty { return false }
            sum = Checksum.of(block.span, seed: sum)
            position += block.count
        }
        return sum == checksum
    }
}
