import Glibc

/// `journal`, open to be written: what was accepted and isn't in the tables yet. One thread has it.
///
/// Its blocks are laid out beforehand, so that a sync carries octets and nothing about the file. One half is
/// written until it is full, then the other, once everything in that one is in the tables.
struct JournalFile: ~Copyable {
    private let file: OpenFile
    private let header: JournalLayout.Header
    private var half = 0
    /// Octets written in this half.
    private var position = 0
    /// The number of the last entry of each half.
    private var last: (UInt64, UInt64)

    var key: UInt64 { header.key }

    /// At most a 64th of the file system; nothing below 512 KiB: such a disk has better use for them.
    private static func halfCount(in queue: String, limit: Int) -> Int? {
        let total = FileSystem.room(at: queue)?.total ?? 0
        let count = Int(min(UInt64(limit), total / 64)) / 2 / JournalLayout.pageCount
        return count >= 64 ? count * JournalLayout.pageCount : nil
    }

    static func path(in queue: String) -> String { queue + "/journal" }

    /// Begins a journal in place of the one that may be there, whose entries are in the tables.
    ///
    /// - Parameters:
    ///   - limit: octets of the file, at most.
    ///   - applied: the number of the last entry that is in the tables.
    /// - Returns: nil where the file system is too small, or the limit.
    static func begin(
        in queue: String, limit: Int, applied: UInt64
    ) throws(FileError) -> JournalFile? {
        guard let halfCount = halfCount(in: queue, limit: limit) else { return nil }
        let header = JournalLayout.Header(
            key: UInt64.random(in: .min ... .max), halfCount: halfCount)
        let path = path(in: queue)
        do throws(FileError) {
            return try laidOut(path, header, applied: applied, in: queue)
        } catch {
            try? FileSystem.remove(path)
            throw error
        }
    }

    private static func laidOut(
        _ path: String, _ header: JournalLayout.Header, applied: UInt64, in queue: String
    ) throws(FileError) -> JournalFile {
        let file = try OpenFile(path, O_RDWR | O_CREAT)
        if try file.size != header.fileCount {
            try file.truncate(to: 0)
            let zeros = [UInt8](repeating: 0, count: 1 << 16)
            var offset = 0
            while offset < header.fileCount {
                let count = min(zeros.count, header.fileCount - offset)
                try file.write(zeros.span.extracting(first: count), at: offset)
                offset += count
            }
        }
        try file.write(header.octets.span, at: 0)
        try file.sync()
        try FileSystem.syncDirectory(queue)
        return JournalFile(file: file, header: header, last: (applied, applied))
    }

    private init(file: consuming OpenFile, header: JournalLayout.Header, last: (UInt64, UInt64)) {
        self.file = file
        self.header = header
        self.last = last
    }

    /// Writes a batch, whole pages, and syncs it: when this returns it survives power loss. After an error
    /// the journal must not be written any more.
    ///
    /// - Parameter applied: the number of the last entry that is in the tables.
    /// - Returns: false where there is no room before more of it is in the tables.
    mutating func append(_ batch: borrowing JournalBatch, applied: UInt64) throws(FileError) -> Bool
    {
        if lastOfHalf <= applied { position = 0 }
        if position + batch.count > header.halfCount {
            guard lastOfOther <= applied, batch.count <= header.halfCount else { return false }
            half = 1 - half
            position = 0
        }
        try file.write(batch.octets.span, at: header.offset(ofHalf: half) + position)
        try file.syncData()
        position += batch.count
        lastOfHalf = batch.last
        return true
    }

    private var lastOfHalf: UInt64 {
        get { half == 0 ? last.0 : last.1 }
        set { if half == 0 { last.0 = newValue } else { last.1 = newValue } }
    }

    private var lastOfOther: UInt64 { half == 0 ? last.1 : last.0 }
}
