import ElemtaThreads
import Glibc

/// Writes the content of one message to a file of its own, for content beyond the spill threshold.
///
/// Every call blocks on the disk: run it on the files pool. One call at a time; any thread. After an
/// error the file is gone and only `abort` does anything. A writer that is dropped unfinished
/// removes its file.
public final class ContentFileWriter: Sendable {
    /// Octets of a block: a writer holds fewer than that in memory.
    public static var blockCount: Int { ContentFileLayout.blockCount }
    /// Octets that one pwrite(2) takes at most. With blocks of 8 KiB a message of 1 MiB took 0.37 ms of
    /// CPU more, and ext4 wrote each block's pages by themselves.
    private static let writeCount = 1 << 16

    private let state: Locked<State>
    private let queue: String
    private let directories: ContentDirectories
    private let envelope: Envelope
    private let generation: UInt64

    private struct State: ~Copyable {
        var file: OpenFile?
        var pending: [UInt8] = []
        var count: UInt64 = 0
        var checksum: UInt64 = 0
        var failure: SpoolError?
    }

    init(
        queue: String, directories: ContentDirectories, envelope: Envelope, generation: UInt64
    ) {
        self.queue = queue
        self.directories = directories
        self.envelope = envelope
        self.generation = generation
        state = Locked(State())
    }

    deinit { abort() }

    /// Creates the file (0600) and writes its header.
    ///
    /// - Throws: `.full` or `.storage`; answer 452 4.3.1.
    public func begin() throws(SpoolError) {
        try perform { state throws(FileError) in
            guard state.file == nil else { return }
            try directories.prepare(for: envelope.id)
            let path = ContentFileLayout.path(queue, envelope.id)
            let file = try OpenFile(path, O_WRONLY | O_CREAT | O_EXCL)
            state.file = consume file
            let header = ContentFileLayout.header(envelope, generation: generation)
            try Self.write(header.span, to: state)
        }
    }

    /// Appends content, of which up to 64 KiB gather: follow the last piece of a run with
    /// `writeBlocks()`.
    ///
    /// - Throws: `.full` or `.storage`; answer 452 4.3.1 at the end of data.
    public func append(_ octets: Span<UInt8>) throws(SpoolError) {
        try perform { state throws(FileError) in
            var position = 0
            while position < octets.count {
                let end = min(octets.count, position + Self.writeCount - state.pending.count)
                // Safe because the array copies what the span lends.
                unsafe octets.extracting(position..<end).withUnsafeBufferPointer {
                    unsafe state.pending.append(contentsOf: $0)
                }
                position = end
                if state.pending.count == Self.writeCount {
                    try Self.write(Self.writeCount, of: &state)
                }
            }
        }
    }

    /// Writes what has gathered, but for the octets behind the last whole block: fewer than
    /// `blockCount` stay in memory.
    ///
    /// - Throws: as `append`.
    public func writeBlocks() throws(SpoolError) {
        try perform { state throws(FileError) in
            let whole = state.pending.count / Self.blockCount * Self.blockCount
            try Self.write(whole, of: &state)
        }
    }

    /// Writes the end mark and syncs the file, then its directory, whose own name was synced by
    /// `begin`: when this returns, the file survives a power loss. Hand the result to `Spool.accept`.
    ///
    /// - Throws: `.full` or `.storage`; answer 452 4.3.1. A failed sync is never tried again.
    public func finish() throws(SpoolError) -> FinishedContentFile {
        try perform { state throws(FileError) in
            try Self.write(state.pending.count, of: &state)
            let end = ContentFileLayout.end(
                envelope.id, octets: state.count, checksum: state.checksum)
            try Self.write(end.span, to: state)
            switch state.file {
            case .some(let file): try file.sync()
            case .none: break
            }
            try FileSystem.syncDirectory(ContentFileLayout.directory(queue, envelope.id))
        }
        return state.withLock { state in
            state.file = nil
            return FinishedContentFile(
                id: envelope.id, octetCount: state.count,
                path: ContentFileLayout.path(queue, envelope.id))
        }
    }

    /// Closes and removes an unfinished file. Nothing after `finish`.
    public func abort() {
        state.withLock { state in
            guard state.file != nil else { return }
            state.file = nil
            state.pending = []
            try? FileSystem.remove(ContentFileLayout.path(queue, envelope.id))
        }
    }

    private func perform(
        _ body: (inout State) throws(FileError) -> Void
    ) throws(SpoolError) {
        let failure = state.withLock { state -> SpoolError? in
            if let failure = state.failure { return failure }
            do throws(FileError) {
                try body(&state)
                return nil
            } catch {
                let wasOpen = state.file != nil
                state.file = nil
                state.pending = []
                state.failure = error.spoolError
                if wasOpen {
                    try? FileSystem.remove(ContentFileLayout.path(queue, envelope.id))
                }
                return error.spoolError
            }
        }
        if let failure { throw failure }
    }

    /// Writes the first `count` of the octets that have gathered: whole blocks, or all there will be.
    private static func write(_ count: Int, of state: inout State) throws(FileError) {
        guard count > 0 else { return }
        try write(state.pending.span.extracting(first: count), to: state)
        var checksum = state.checksum
        for begin in stride(from: 0, to: count, by: blockCount) {
            let block = state.pending.span.extracting(begin..<min(begin + blockCount, count))
            checksum = Checksum.of(block, seed: checksum)
        }
        state.checksum = checksum
        state.count += UInt64(count)
        // Anew, not shortened: 64 KiB of capacity would stay for as long as the message takes.
        state.pending = Array(state.pending[count...])
    }

    private static func write(
        _ octets: Span<UInt8>, to state: borrowing State
    ) throws(FileError) {
        switch state.file {
        case .some(let file): try file.write(octets)
        case .none: throw FileError(operation: "write content before begin", code: EBADF)
        }
    }
}
