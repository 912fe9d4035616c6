/// Messages on their way into the journal: a run of entries, in a buffer that is kept from batch to batch.
struct JournalBatch {
    private var writer = OctetWriter()
    /// Numbers of the first and the last entry.
    private var first: UInt64 = 0
    private(set) var last: UInt64 = 0

    var octets: [UInt8] { writer.octets }
    var count: Int { writer.count }

    mutating func reset() { writer.reset() }

    /// Adds an entry.
    ///
    /// - Throws: `.envelopeTooLarge`, `.contentMismatch`; the batch is then what it was.
    mutating func add(
        _ envelope: Envelope, _ content: any SpoolContent, _ sequence: UInt64, key: UInt64
    ) throws(SpoolError) {
        let start = writer.count
        var envelope = envelope
        let expected = content.octetCount
        envelope.contentOctets = UInt64(expected)
        if start == 0 { first = sequence }
        writer.appendLittleEndian(JournalLayout.tag(sequence: sequence, batch: first, key: key))
        writer.appendLittleEndian(sequence)
        writer.appendLittleEndian(first)
        let record = writer.count
        writer.appendZeros(RecordHeader.count)
        EnvelopeCodec.encode(envelope, place: .inline, into: &writer)
        let head = writer.count
        guard head - record - RecordHeader.count <= EnvelopeCodec.maximumOctets else {
            writer.shorten(to: start)
            throw .envelopeTooLarge
        }
        content.forEachSegment { writer.append($0) }
        guard writer.count - head == expected else {
            writer.shorten(to: start)
            throw .contentMismatch
        }
        let header = RecordHeader(
            kind: .envelope, id: envelope.id, part: UInt32(expected),
            length: UInt32(writer.count - record - RecordHeader.count))
        unsafe writer.withRecord(from: record) { unsafe header.seal($0) }
        last = sequence
    }

    /// Fills the last page up: a page that somebody has been told about isn't written again.
    mutating func fillPage() {
        let over = writer.count % JournalLayout.pageCount
        if over > 0 { writer.appendZeros(JournalLayout.pageCount - over) }
    }
}

extension OctetWriter {
    /// Hands out what lies from `start` on, to be changed in place.
    fileprivate mutating func withRecord(
        from start: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        unsafe withOctets { octets in
            // Safe because the buffer is only used inside the closure.
            unsafe body(UnsafeMutableRawBufferPointer(rebasing: octets[start...]))
        }
    }
}
