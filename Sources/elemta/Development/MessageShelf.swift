import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads

/// The messages of dev mode, as many of the latest as the limits allow. Any thread.
final class MessageShelf: Sendable {
    struct Limits {
        var messages = 1000
        /// Octets of content and of recipients' addresses.
        var octets = 64 * 1024 * 1024
    }

    private struct Contents {
        /// In the order in which they were accepted.
        var messages: [CapturedMessage] = []
        var octetCount = 0
    }

    private let limits: Limits
    private let contents = Locked(Contents())

    init(_ limits: Limits = Limits()) {
        self.limits = limits
    }

    /// Keeps a message; the oldest go to make room for it.
    ///
    /// - Returns: false when it alone is larger than all may be: then everything stays as it is.
    func put(_ message: CapturedMessage) -> Bool {
        let octetCount = message.octetCount
        guard octetCount <= limits.octets else { return false }
        contents.withLock { contents in
            contents.messages.append(message)
            contents.octetCount += octetCount
            var count = 0
            while contents.messages.count - count > limits.messages
                || contents.octetCount > limits.octets
            {
                contents.octetCount -= contents.messages[count].octetCount
                count += 1
            }
            contents.messages.removeFirst(count)
        }
        return true
    }

    private var messages: [CapturedMessage] { contents.withLock { $0.messages } }

    private func find(_ id: MessageID) throws(SpoolError) -> CapturedMessage {
        guard let message = messages.first(where: { $0.id == id }) else {
            throw .unknownMessage(id)
        }
        return message
    }
}

extension MessageShelf: QueueView {
    var sight: QueueSight { QueueSight(now: SpoolOptions.systemClock()) }

    /// All at once: there are few.
    func list(
        _ selection: QueueSelection, after: MessageID?, limit: Int
    ) throws(SpoolError) -> (messages: [MessageSummary], next: MessageID?) {
        let sight = self.sight
        let selected = messages.filter { $0.envelope.matches(selection, sight) }
        return (selected.map { MessageSummary($0.envelope, sight) }, nil)
    }

    func show(_ id: MessageID) throws(SpoolError) -> Envelope { try find(id).envelope }

    func read(_ id: MessageID) throws(SpoolError) -> StoredMessage {
        let message = try find(id)
        return StoredMessage(envelope: message.envelope, content: .memory(message.content))
    }

    func statistics() throws(SpoolError) -> SpoolStatistics {
        var statistics = SpoolStatistics()
        for message in messages {
            statistics.messages += 1
            statistics.held += 1
            statistics.octets += UInt64(message.content.count)
        }
        return statistics
    }

    var census: QueueCensus {
        var census = QueueCensus()
        let sight = self.sight
        for message in messages { census.add(message.id, in: message.envelope.state(sight)) }
        return census
    }

    func perform(
        _ operation: QueueOperation, on selection: QueueSelection,
        while wanted: @escaping @Sendable () -> Bool,
        progress: @escaping @Sendable (OperationProgress) -> Void
    ) {
        let sight = self.sight
        var made = OperationProgress()
        made.isFinished = true
        contents.withLock { contents in
            made.examined = contents.messages.count
            switch operation {
            case .delete:
                contents.messages.removeAll { $0.envelope.matches(selection, sight) }
                contents.octetCount = contents.messages.reduce(0) { $0 + $1.octetCount }
                made.changed = made.examined - contents.messages.count
            case .retry, .hold, .release: break
            }
        }
        progress(made)
    }

    func objection(to operation: QueueOperation) -> String? {
        switch operation {
        case .delete: nil
        case .retry, .hold, .release:
            "the server is in dev mode: messages are shown and deleted, never delivered"
        }
    }

    var remark: QueueRemark { .subject }

    func subject(of id: MessageID) -> String? { (try? find(id))?.subject }
}
