import Glibc

/// The layout of `journal`: a page that says which journal this is, and two halves that are written in turn.
///
/// | octets of the first page | are (little-endian) |
/// | --- | --- |
/// | 0-7 | "ElmJrnl1" |
/// | 8-15 | key: drawn at random for each journal |
/// | 16-23 | octets of a half |
/// | 24-31 | XXH64 of octets 0-23 |
///
/// A half holds batches, each from the beginning of a page. A batch is entries, one behind the other; an entry
/// is a tag that its place and the key give (8 octets), its number (8), the number of the first entry of its batch (8), and the record of a
/// message as it would be in the `envelope` table, with all of its content behind the envelope.
///
/// The key is what tells entries from what else may be there, older entries among it: clients write the
/// content of messages, and none of them knows it.
enum JournalLayout {
    static let pageCount = 4096
    /// Octets in front of an entry's record.
    static let entryHeaderCount = 24
    private static let headerCount = 32
    private static let magic: UInt64 = 0x316C_6E72_4A6D_6C45

    struct Header: Equatable {
        let key: UInt64
        let halfCount: Int

        var fileCount: Int { pageCount + 2 * halfCount }

        /// Where a half begins in the file.
        func offset(ofHalf half: Int) -> Int { pageCount + half * halfCount }

        /// The first page.
        var octets: [UInt8] {
            var page = [UInt8](repeating: 0, count: pageCount)
            // Safe because all of it lies within the page.
            unsafe page.withUnsafeMutableBytes { page in
                unsafe page.storeLittleEndian(magic, at: 0)
                unsafe page.storeLittleEndian(key, at: 8)
                unsafe page.storeLittleEndian(UInt64(halfCount), at: 16)
            }
            let sum = Checksum.of(page.span.extracting(0..<24))
            unsafe page.withUnsafeMutableBytes { unsafe $0.storeLittleEndian(sum, at: 24) }
            return page
        }

        init(key: UInt64, halfCount: Int) {
            self.key = key
            self.halfCount = halfCount
        }

        /// Nil where this isn't the first page of a journal.
        init?(_ page: Span<UInt8>) {
            guard page.count >= headerCount,
                page.littleEndian(at: 0, as: UInt64.self) == magic,
                page.littleEndian(at: 24, as: UInt64.self)
                    == Checksum.of(page.extracting(0..<24)),
                let halfCount = Int(exactly: page.littleEndian(at: 16, as: UInt64.self)),
                halfCount <= 1 << 30
            else { return nil }
            key = page.littleEndian(at: 8, as: UInt64.self)
            self.halfCount = halfCount
        }
    }

    /// What an entry begins with. Whoever doesn't know the key can't tell it.
    static func tag(sequence: UInt64, batch: UInt64, key: UInt64) -> UInt64 {
        mixed(key ^ mixed(sequence ^ mixed(batch ^ key)))
    }

    /// The last steps of XXH64: each bit of the result depends on all of the argument's.
    private static func mixed(_ value: UInt64) -> UInt64 {
        var value = (value ^ (value >> 33)) &* 0xC2B2_AE3D_27D4_EB4F
        value = (value ^ (value >> 29)) &* 0x1656_67B1_9E37_79F9
        return value ^ (value >> 32)
    }

    /// An entry that is whole.
    struct Entry {
        let sequence: UInt64
        /// Of the first entry of its batch: everything before that was synced before this was written.
        let batch: UInt64
        let envelope: Envelope
        let content: [UInt8]
    }

    /// The entries of a half behind number `applied`, in order. Those that are damaged are left out, and so is
    /// what is left of older ones.
    static func entries(of half: Span<UInt8>, key: UInt64, behind applied: UInt64) -> [Entry] {
        var entries: [Entry] = []
        var last: UInt64 = 0
        var position = 0
        while half.count - position >= entryHeaderCount + RecordHeader.count {
            guard let (entry, end) = entry(half, at: position, key: key), entry.sequence > last
            else {
                // The next batch, if there is one, or what lies behind the damage.
                position += pageCount - position % pageCount
                continue
            }
            last = entry.sequence
            position = end
            if last > applied { entries.append(entry) }
        }
        return entries
    }

    /// - Returns: the entry and where it ends; nil where there is none.
    private static func entry(
        _ half: Span<UInt8>, at position: Int, key: UInt64
    ) -> (entry: Entry, end: Int)? {
        let sequence = half.littleEndian(at: position + 8, as: UInt64.self)
        let batch = half.littleEndian(at: position + 16, as: UInt64.self)
        guard
            half.littleEndian(at: position, as: UInt64.self)
                == tag(sequence: sequence, batch: batch, key: key)
        else { return nil }
        let start = position + entryHeaderCount
        guard let count = RecordHeader.extent(half.extracting(start...)),
            count <= half.count - start
        else { return nil }
        let record = half.extracting(start..<start + count)
        guard let decoded = try? EnvelopeRecord.decode(record, id: nil) else { return nil }
        let entry = Entry(
            sequence: sequence, batch: batch, envelope: decoded.envelope,
            content: record.extracting(decoded.contentOffset...).copied)
        return (entry, start + count)
    }
}
