import ElemtaQueue

/// What came of something that the files pool did for a message.
enum SpillResult: Sendable {
    /// The octets are in the file; not yet on disk.
    case written
    /// File and directory are on disk.
    case finished(FinishedContentFile)
    /// The disk refused, in its own words.
    case failed(String)
}

/// The content file of one message, written by the files pool: each call returns at once, and what
/// came of it is told on a thread of the pool. The next call must wait for that.
final class SpillFile: Sendable {
    private let writer: ContentFileWriter
    private let pool: FilesPool

    init(_ writer: ContentFileWriter, pool: FilesPool) {
        self.writer = writer
        self.pool = pool
    }

    /// Appends a piece; the first call creates the file.
    func write(_ piece: MessageContent, completed: @escaping @Sendable (SpillResult) -> Void) {
        pool.run { [self] in
            do throws(SpoolError) {
                try append(piece)
                completed(.written)
            } catch {
                completed(.failed("\(error)"))
            }
        }
    }

    /// Appends the last piece and syncs file and directory.
    func finish(
        with piece: MessageContent, completed: @escaping @Sendable (SpillResult) -> Void
    ) {
        pool.run { [self] in
            do throws(SpoolError) {
                try append(piece)
                completed(.finished(try writer.finish()))
            } catch {
                completed(.failed("\(error)"))
            }
        }
    }

    /// Removes the file, if it was begun.
    func abandon() {
        pool.run { [writer] in writer.abort() }
    }

    private func append(_ piece: MessageContent) throws(SpoolError) {
        try writer.begin()
        var failure: SpoolError?
        piece.forEachSegment { segment in
            guard failure == nil else { return }
            do throws(SpoolError) {
                try writer.append(segment)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        try writer.writeBlocks()
    }
}
