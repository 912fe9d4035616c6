import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc

/// What workers want of the spool.
protocol MessageStore: AnyObject, Sendable {
    /// One short read; any thread. Content that is in a file is `.unopened`, and more than 64 KiB in
    /// the database `.blocks`.
    func find(_ id: MessageID) throws(SpoolError) -> OutboundMessage
    /// Opens content that `find` left in its file. Blocks for as long as all of it takes to verify:
    /// not on a loop.
    func openContent(of message: OutboundMessage) throws(SpoolError) -> ContentFile
    /// Any thread; must not block.
    func record(_ outcomes: [DeliveryOutcome])
    /// Where there is room for content that has to be written in another way.
    var folder: String { get }
}

extension MessageStore {
    /// A message with its content, ready to be read. Blocks as `openContent` does.
    func fetch(_ id: MessageID) throws(SpoolError) -> OutboundMessage {
        let message = try find(id)
        guard case .unopened = message.content else { return message }
        return OutboundMessage(
            envelope: message.envelope, content: .file(try openContent(of: message)))
    }
}

/// A message as it is to be sent.
struct OutboundMessage: Sendable {
    enum Content: Sendable {
        case memory([UInt8])
        /// In the store's database.
        case blocks(ContentBlocks)
        /// In a file of the store's: `MessageStore.openContent`.
        case unopened(count: Int)
        case file(ContentFile)

        /// Octets read at a time, at most.
        static let blockCount = 65_536

        var count: Int {
            switch self {
            case .memory(let octets): octets.count
            case .blocks(let blocks): blocks.count
            case .unopened(let count): count
            case .file(let file): file.count
            }
        }

        /// The octets from `position` on: at least one, at most `blockCount`; none behind the end.
        ///
        /// - Throws: when it can't be read, or isn't what it was: then what was read before is not
        ///   the message that was accepted.
        func block(at position: Int) throws(SpoolError) -> [UInt8] {
            switch self {
            case .memory(let octets):
                if position == 0, octets.count <= Self.blockCount { return octets }
                return Array(octets[position...].prefix(Self.blockCount))
            case .blocks(let blocks): return try blocks.read(position)
            case .unopened: throw .storage("content that nobody has opened")
            case .file(let file):
                do throws(ReactorError) {
                    return try file.read(Self.blockCount, at: position)
                } catch {
                    throw SpoolError(error)
                }
            }
        }
    }

    let envelope: Envelope
    let content: Content
}

/// Content that stays in the database until it is wanted. Nothing is held between two reads.
struct ContentBlocks: Sendable {
    /// Octets of content.
    let count: Int
    /// As `OutboundMessage.Content.block(at:)`.
    let read: @Sendable (_ position: Int) throws(SpoolError) -> [UInt8]
}

/// Content in an open file, verified. The file is closed when nobody needs it any more.
final class ContentFile: Sendable {
    /// Octets before the content.
    let offset: Int
    /// Octets of content.
    let count: Int
    private let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor, offset: Int, count: Int) {
        self.descriptor = descriptor
        self.offset = offset
        self.count = count
    }

    /// Another descriptor of the same file, for the kernel to send from. Throws `EMFILE` and its like.
    func duplicate() throws(ReactorError) -> OwnedDescriptor {
        let number = fcntl(descriptor.number, F_DUPFD_CLOEXEC, 0)
        guard number >= 0 else { throw ReactorError("fcntl", code: errno) }
        return OwnedDescriptor(taking: number)
    }

    /// Up to `limit` octets of the content from `position` on; empty behind its end. Throws `EIO`
    /// when the file is shorter than it was.
    func read(_ limit: Int, at position: Int) throws(ReactorError) -> [UInt8] {
        let wanted = min(limit, count - position)
        guard wanted > 0 else { return [] }
        let number = descriptor.number
        let start = offset + position
        var code: Int32 = 0
        let octets = unsafe [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
            // Safe because the buffer has room for `wanted` octets.
            let result = unsafe pread(number, buffer.baseAddress, wanted, start)
            code = result < 0 ? errno : EIO
            filled = max(0, result)
        }
        guard !octets.isEmpty else { throw ReactorError("pread", code: code) }
        return octets
    }
}

/// The spool as workers see it.
final class SpoolMessageStore: MessageStore {
    private let spool: Spool

    init(_ spool: Spool) {
        self.spool = spool
    }

    func find(_ id: MessageID) throws(SpoolError) -> OutboundMessage {
        let (envelope, found) = try spool.find(id)
        let octets = envelope.contentOctets
        let content: OutboundMessage.Content =
            switch found {
            case .memory(let octets): .memory(octets)
            case .file: .unopened(count: Int(octets))
            case .pieces:
                .blocks(
                    ContentBlocks(count: Int(octets)) {
                        [spool] position throws(SpoolError) in
                        try spool.readContent(of: id, octets: octets, from: position)
                    })
            }
        return OutboundMessage(envelope: envelope, content: content)
    }

    func openContent(of message: OutboundMessage) throws(SpoolError) -> ContentFile {
        let envelope = message.envelope
        let content = try spool.openContent(of: envelope.id, octets: envelope.contentOctets)
        let (offset, count) = (Int(content.offset), Int(content.octetCount))
        return ContentFile(
            OwnedDescriptor(taking: content.release()), offset: offset, count: count)
    }

    func record(_ outcomes: [DeliveryOutcome]) {
        spool.record(outcomes)
    }

    var folder: String { spool.path }
}
