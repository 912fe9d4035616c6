import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// The content of one message while it arrives: in memory first, and where `Overflow` says once it
/// is long. Reactor thread only; a file is written by the files pool.
///
/// The pool has at most one piece at a time. What arrives meanwhile gathers here and is the next
/// piece; when too much gathers, `isBehind` tells the session to stop reading.
final class IncomingContent {
    /// Where content goes that grows long.
    enum Overflow {
        /// To the file that `make` names: from `threshold` octets on, sooner when memory is short.
        case file(threshold: Int, make: () -> SpillFile)
        /// Nowhere: it stays in memory, and when that is full the message is refused.
        case refused
    }

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

    /// What stands above the client's octets.
    private enum Top {
        case complete
        /// The trace field; `added` makes what follows it of the fields that the header section has.
        /// Everything stays in memory until then.
        case awaitsHeader(trace: [UInt8], added: (HeaderFields) -> [UInt8])
    }

    /// A header section that is longer is left as it is, octets.
    private static let headerLimit = 64 * 1024

    /// Octets that are worth a job for the pool, once there is a file.
    private static let pieceCount = 64 * 1024

    /// Octets that gather before a client whose content waits for the disk isn't read from.
    private static let waitingLimit = 256 * 1024

    let id: MessageID
    private let overflow: Overflow
    private let completed: @Sendable (SpillResult) -> Void
    private var waiting: ByteChain
    private var place = Place.memory
    private var top = Top.complete
    /// Octets given to the file.
    private var filedCount = 0

    /// `completed` is called on a pool thread after each piece that went to the file; pass what it
    /// says to `took(_:)`.
    init(
        id: MessageID, overflow: Overflow, completed: @escaping @Sendable (SpillResult) -> Void
    ) {
        self.id = id
        self.overflow = overflow
        self.completed = completed
        waiting = ByteChain()
    }

    /// Octets in memory: here, on their way to the file, and in its last block.
    var memoryCount: Int {
        switch place {
        case .memory, .gone: waiting.count
        case .file: waiting.count + filedCount % ContentFileWriter.blockCount
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

    /// Puts `trace` on top when `complete(header:)` tells what the header section has, and `added`
    /// below it. Before anything is appended.
    func awaitHeader(trace: [UInt8], added: @escaping (HeaderFields) -> [UInt8]) {
        top = .awaitsHeader(trace: trace, added: added)
    }

    /// `fields`: those of the header section; nil while more of it may come.
    func complete(header fields: HeaderFields?) {
        guard case .awaitsHeader(let trace, let added) = top else { return }
        guard fields != nil || waiting.count > Self.headerLimit else { return }
        top = .complete
        var whole = ByteChain()
        whole.append(trace)
        if let fields { whole.append(added(fields)) }
        whole.append(takeWaiting())
        waiting = whole
    }

    /// Takes the first `count` octets of a client's input.
    func append(moving count: Int, from input: inout InputBuffer) {
        input.move(count, to: &waiting)
    }

    /// Gives the pool what has gathered, when that is worth a piece; when memory is short, although
    /// it is small.
    ///
    /// - Returns: false when there is no room for it anywhere: the message must be refused.
    func makeRoom(in budget: MemoryBudget) -> Bool {
        if case .awaitsHeader = top { return true }
        switch overflow {
        case .file(let threshold, let make):
            spillIfLong(threshold: threshold, isMemoryShort: budget.isShort, make)
            return true
        case .refused:
            return !budget.isExhausted
        }
    }

    private func spillIfLong(threshold: Int, isMemoryShort: Bool, _ make: () -> SpillFile) {
        // Less than a block would only move from here to the writer.
        let threshold = isMemoryShort ? min(threshold, ContentFileWriter.blockCount) : threshold
        switch place {
        case .memory:
            guard waiting.count > threshold else { return }
            write(to: make())
        case .file(let file):
            guard waiting.count >= min(max(threshold, 1), Self.pieceCount) else { return }
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
            file.abandon()
        }
        place = .gone
        _ = takeWaiting()
    }

    private func write(to file: SpillFile) {
        let piece = MessageContent(takeWaiting())
        place = .writing(file, count: piece.octetCount)
        filedCount += piece.octetCount
        file.write(piece, completed: completed)
    }

    private func finish(_ file: SpillFile) {
        let piece = MessageContent(takeWaiting())
        place = .completing(file, count: piece.octetCount)
        file.finish(with: piece, completed: completed)
    }

    private func takeWaiting() -> ByteChain {
        var taken = ByteChain()
        swap(&taken, &waiting)
        return taken
    }
}
