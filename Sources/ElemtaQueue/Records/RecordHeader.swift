/// Why octets are not the record they should be. Such a record goes to quarantine.
enum RecordDamage: Error, Equatable, Sendable, CustomStringConvertible {
    case tooShort
    case wrongMagic
    case unknownVersion(UInt8)
    case wrongKind(UInt8)
    case wrongID(MessageID)
    case wrongLength
    case wrongChecksum
    case malformed(String)
    case missing(String)

    var description: String {
        switch self {
        case .tooShort: "shorter than its header"
        case .wrongMagic: "doesn't begin as a record"
        case .unknownVersion(let version): "version \(version) is unknown"
        case .wrongKind(let kind): "kind \(kind) isn't the one expected"
        case .wrongID(let id): "names message \(id)"
        case .wrongLength: "length doesn't match"
        case .wrongChecksum: "checksum doesn't match"
        case .malformed(let what): "malformed \(what)"
        case .missing(let what): "\(what) is missing"
        }
    }
}

/// What a record is. The numbers are on disk and never reused.
enum RecordKind: UInt8, Sendable {
    case envelope = 1
    case piece = 2
    case contentFile = 3
    case contentFileEnd = 4
    case spoolState = 5
    case removal = 6
}

/// The first 32 octets of everything the spool writes: each record says what it is and whether it
/// is whole, so that it can be told from damage and found again without any index.
///
/// | octets | is (little-endian) |
/// | --- | --- |
/// | 0-3 | "ElmQ" |
/// | 4 | kind |
/// | 5 | version |
/// | 6-7 | 0 |
/// | 8-15 | XXH64 of octets 16... with octets 0-7 as the seed |
/// | 16-23 | message id |
/// | 24-27 | part: the number of a piece, or the octets of content at the end of an envelope |
/// | 28-31 | octets that follow the header |
struct RecordHeader: Equatable, Sendable {
    static let count = 32
    static let version: UInt8 = 1
    private static let magic: UInt64 = 0x516D_6C45

    let kind: RecordKind
    let id: MessageID
    let part: UInt32
    let length: UInt32

    /// Writes the header in front of a payload that is already in place, and seals both.
    func seal(_ record: UnsafeMutableRawBufferPointer) {
        let seed = Self.magic | UInt64(kind.rawValue) << 32 | UInt64(Self.version) << 40
        unsafe record.storeLittleEndian(seed, at: 0)
        unsafe record.storeLittleEndian(id.rawValue, at: 16)
        unsafe record.storeLittleEndian(part, at: 24)
        unsafe record.storeLittleEndian(length, at: 28)
        // Safe because the record is header and payload, so it is longer than 16 octets.
        let covered = unsafe UnsafeRawBufferPointer(rebasing: record[16...])
        unsafe record.storeLittleEndian(Checksum.of(covered, seed: seed), at: 8)
    }

    /// Whether octets begin as every record does.
    static func hasMagic(_ octets: Span<UInt8>) -> Bool {
        octets.count >= count && UInt64(octets.littleEndian(at: 0, as: UInt32.self)) == magic
    }

    /// Octets of the record that seems to begin here, going by its header alone; nil where none can
    /// be.
    static func extent(_ octets: Span<UInt8>) -> Int? {
        guard hasMagic(octets), RecordKind(rawValue: octets[4]) != nil else { return nil }
        let length = Int(octets.littleEndian(at: 28, as: UInt32.self))
        return length <= EnvelopeCodec.maximumOctets + SpoolStore.pageRoom ? count + length : nil
    }

    /// The message that the record which seems to begin here names.
    static func id(_ octets: Span<UInt8>) -> MessageID {
        MessageID(rawValue: octets.littleEndian(at: 16, as: UInt64.self))
    }

    /// As `verify(_:is:of:)`, for a record of whatever kind.
    static func verify(_ record: Span<UInt8>) throws(RecordDamage) -> RecordHeader {
        guard record.count >= count else { throw .tooShort }
        guard hasMagic(record) else { throw .wrongMagic }
        guard let kind = RecordKind(rawValue: record[4]) else { throw .wrongKind(record[4]) }
        return try verify(record, is: kind, of: nil)
    }

    /// Reads the header of a whole record and checks everything it says about itself.
    static func verify(
        _ record: Span<UInt8>, is kind: RecordKind, of id: MessageID?
    ) throws(RecordDamage) -> RecordHeader {
        guard record.count >= count else { throw .tooShort }
        let seed = record.littleEndian(at: 0, as: UInt64.self)
        guard seed & 0xFFFF_FFFF == magic else { throw .wrongMagic }
        guard record[5] == version else { throw .unknownVersion(record[5]) }
        guard record[4] == kind.rawValue else { throw .wrongKind(record[4]) }
        let header = RecordHeader(
            kind: kind, id: MessageID(rawValue: record.littleEndian(at: 16, as: UInt64.self)),
            part: record.littleEndian(at: 24, as: UInt32.self),
            length: record.littleEndian(at: 28, as: UInt32.self))
        guard Int(header.length) == record.count - count else { throw .wrongLength }
        let sum = record.littleEndian(at: 8, as: UInt64.self)
        guard Checksum.of(record.extracting(16...), seed: seed) == sum else {
            throw .wrongChecksum
        }
        if let id, header.id != id { throw .wrongID(header.id) }
        return header
    }
}
