import ElemtaQueue
import ElemtaReactor

/// What came of something that the files pool did for a message.
enum SpillResult: Sendable {
    /// The octets are in the file; not yet on disk.
    case written
    /// File and directory are on disk.
    case finished(FinishedContentFile)
    /// The disk refused, in its own words.
    case failed(String)
}

/// The content of one message while it arrives: in memory first, in a file once it is long.
/// Reactor thread only; the file is written by the files pool.
///
/// The pool has at most one piece at a time. What arrives meanwhile gathers here and is the next
/// piece; when too much gathers, `isBehind` tells the session to stop reading.
final class IncomingContent {
    private enum Place {
        case memory
        /// A file that the pool isn't busy with.
        case file(SpillFile)
        /// The pool writes so many octets to the file.
        case writing(SpillFile, count: Int)
        /// Everything is here; the file is completed when the piece under way is written.
        case completing(SpillFile, count: Int)
        /// Refused by the disk, or given up.
        case gone
    }

    /// Where the content is when all of it is there.
    enum Completion {
        case inMemory(MessageContent)
        /// `contentWasSpilled` follows with the file.
        case underWay
        /// It was refused on the way.
        case gone
    }

    /// Octets that gather before a client whose content waits for the disk isn't read from.
    private static let waitingLimit = 256 * 1024

    let id: MessageID
    private let pool: FilesPool
    private let spillThreshold: Int
    private let makeFile: () -> SpillFile
    private let completed: @Sendable (SpillResult) -> Void
    private var waiting: ByteChain
    private var place = Place.memory

    /// `makeFile` is asked once, when the content outgrows `spillThreshold` octets. `completed` is
    /// called on a pool thread after each piece; pass what it says to `took(_:)`.
    init(
        id: MessageID, pool: FilesPool, spillThreshold: Int,
        makeFile: @escaping () -> SpillFile, completed: @escaping @Sendable (SpillResult) -> Void
    ) {
        self.id = id
        self.pool = pool
        self.spillThreshold = spillThreshold
        self.makeFile = makeFile
        self.completed = completed
        waiting = ByteChain()
    }

    /// Octets in memory, here and on their way to the file.
    var memoryCount: Int {
        switch place {
        case .memory, .file, .gone: waiting.count
        case .writing(_, let count), .completing(_, let count): waiting.count + count
        }
    }

    /// True while more should not be read.
    var isBehind: Bool {
        guard case .writing = place else { return false }
        return waiting.count >= Self.waitingLimit
    }

    func append(_ octets: [UInt8]) {
        waiting.append(octets)
    }

    /// Takes the first `count` octets of a client's input.
    func append(moving count: Int, from input: inout InputBuffer) {
        input.move(count, to: &waiting)
    }

    /// Gives the pool what has gathered, when that is worth a piece. `isMemoryShort`: content goes
    /// to the file although it is small.
    func spillIfLong(isMemoryShort: Bool) {
        switch place {
        case .memory:
            guard waiting.count > (isMemoryShort ? 0 : spillThreshold) else { return }
            write(to: makeFile())
        case .file(let file):
            guard waiting.count >= (isMemoryShort ? 1 : spillThreshold) else { return }
            write(to: file)
        case .writing, .completing, .gone:
            return
        }
    }

    /// The last octet is there. Call it once.
    func complete() -> Completion {
        switch place {
        case .memory:
            return .inMemory(MessageContent(takeWaiting()))
        case .file(let file):
            finish(file)
            return .underWay
        case .writing(let file, let count):
            place = .completing(file, count: count)
            return .underWay
        case .completing, .gone:
            return .gone
        }
    }

    /// The pool has done what it was given, as `completed` told.
    func took(_ result: SpillResult) {
        switch (place, result) {
        case (.writing(let file, _), .written): place = .file(file)
        case (.completing(let file, _), .written): finish(file)
        case (_, .failed): place = .gone
        case (_, .written), (_, .finished): break
        }
    }

    /// Gives the message up; a file that was begun is removed.
    func abandon() {
        switch place {
        case .memory, .gone: break
        case .file(let file), .writing(let file, _), .completing(let file, _):
            pool.run { file.abandon() }
        }
        place = .gone
        _ = takeWaiting()
    }

    private func write(to file: SpillFile) {
        let piece = MessageContent(takeWaiting())
        place = .writing(file, count: piece.octetCount)
        pool.run { [completed] in completed(file.write(piece)) }
    }

    private func finish(_ file: SpillFile) {
        let piece = MessageContent(takeWaiting())
        place = .completing(file, count: piece.octetCount)
        pool.run { [completed] in completed(file.finish(with: piece)) }
    }

    private func takeWaiting() -> ByteChain {
        var taken = ByteChain()
        swap(&taken, &waiting)
        return taken
    }
}
