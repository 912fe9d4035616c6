import ElemtaQueue

/// The content file of one message, on the files pool's side: each call blocks on the disk.
final class SpillFile: Sendable {
    private let writer: ContentFileWriter

    init(_ writer: ContentFileWriter) {
        self.writer = writer
    }

    /// Appends a piece; the first call creates the file.
    func write(_ piece: MessageContent) -> SpillResult {
        do throws(SpoolError) {
            try append(piece)
            return .written
        } catch {
            return .failed("\(error)")
        }
    }

    /// Appends the last piece and syncs file and directory.
    func finish(with piece: MessageContent) -> SpillResult {
        do throws(SpoolError) {
            try append(piece)
            return .finished(try writer.finish())
        } catch {
            return .failed("\(error)")
        }
    }

    /// Removes the file, if it was begun.
    func abandon() {
        writer.abort()
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
    }
}
