import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc

/// What workers want of the spool.
protocol MessageStore: AnyObject, Sendable {
    /// One short read; any thread. Content that is in a file is `.unopened`.
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
        /// In a file of the store's: `MessageStore.openContent`.
        case unopened(count: Int)
        case file(ContentFile)

        var count: Int {
            switch self {
            case .memory(let octets): octets.count
            case .unopened(let count): count
            case .file(let file): file.count
            }
        }
    }

    let envelope: Envelope
    let content: Content
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
        let (envelope, octets) = try spool.find(id)
        return OutboundMessage(
            envelope: envelope,
            content: octets.map { .memory($0) } ?? .unopened(count: Int(envelope.contentOctets)))
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
