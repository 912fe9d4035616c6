import ElemtaSMTP

/// The record of the `envelope` table: header, envelope, and content that is small enough.
enum EnvelopeRecord {
    struct Decoded {
        var envelope: Envelope
        var place: ContentPlace
        /// Where the inline content begins in the record.
        var contentOffset: Int
    }

    /// Decodes a record whose header has been verified.
    static func decode(
        _ record: Span<UInt8>, _ header: RecordHeader
    ) throws(RecordDamage) -> Decoded {
        let inline = Int(header.part)
        guard inline <= record.count - RecordHeader.count else { throw .wrongLength }
        let payload = record.extracting(RecordHeader.count..<(record.count - inline))
        let (envelope, place, count) = try EnvelopeCodec.decode(payload, id: header.id)
        guard count == payload.count else { throw .malformed("envelope") }
        if place == .inline, UInt64(inline) != envelope.contentOctets { throw .wrongLength }
        return Decoded(
            envelope: envelope, place: place, contentOffset: RecordHeader.count + payload.count)
    }

    /// The record of a message whose content is in a file.
    static func filed(_ envelope: Envelope) -> [UInt8] {
        var writer = OctetWriter()
        EnvelopeCodec.encode(envelope, place: .file, into: &writer)
        var record = [UInt8](repeating: 0, count: RecordHeader.count) + writer.octets
        let header = RecordHeader(
            kind: .envelope, id: envelope.id, part: 0, length: UInt32(writer.count))
        // Safe because the buffer is the whole record.
        unsafe record.withUnsafeMutableBytes { unsafe header.seal($0) }
        return record
    }

    /// Verifies and decodes.
    static func decode(_ record: Span<UInt8>, id: MessageID?) throws(RecordDamage) -> Decoded {
        try decode(record, try RecordHeader.verify(record, is: .envelope, of: id))
    }
}
