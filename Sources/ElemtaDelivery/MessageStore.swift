import ElemtaQueue

/// What workers want of the spool.
protocol MessageStore: AnyObject, Sendable {
    /// Blocks for one short read, at most; any thread.
    func fetch(_ id: MessageID) throws(SpoolError) -> OutboundMessage
    /// Any thread; must not block.
    func record(_ outcomes: [DeliveryOutcome])
}

/// A message as it is to be sent.
struct OutboundMessage: Sendable {
    enum Content: Sendable {
        case memory([UInt8])
        case file(path: String, offset: Int, count: Int)

        var count: Int {
            switch self {
            case .memory(let octets): octets.count
            case .file(_, _, let count): count
            }
        }
    }

    let envelope: Envelope
    let content: Content
}

/// The spool as workers see it.
final class SpoolMessageStore: MessageStore {
    private let spool: Spool

    init(_ spool: Spool) {
        self.spool = spool
    }

    func fetch(_ id: MessageID) throws(SpoolError) -> OutboundMessage {
        let message = try spool.read(id)
        let content: OutboundMessage.Content =
            switch message.content {
            case .memory(let octets): .memory(octets)
            case .file(let file):
                .file(path: file.path, offset: Int(file.offset), count: Int(file.octetCount))
            }
        return OutboundMessage(envelope: message.envelope, content: content)
    }

    func record(_ outcomes: [DeliveryOutcome]) {
        spool.record(outcomes)
    }
}
