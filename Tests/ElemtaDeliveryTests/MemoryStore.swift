import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization
import Testing

@testable import ElemtaDelivery

/// Messages in memory; outcomes in the order in which they come.
final class MemoryStore: MessageStore {
    /// What a message holds, here or in somebody's file.
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

    private let messages = Mutex<[MessageID: (envelope: Envelope, content: Content)]>([:])
    private let outcomes = Inbox<DeliveryOutcome>()
    private let batches = Atomic<Int>(0)

    /// Calls of `record` so far.
    var batchCount: Int { batches.load(ordering: .relaxed) }

    func find(_ id: MessageID) throws(SpoolError) -> OutboundMessage {
        guard let found = messages.withLock({ $0[id] }) else { throw .unknownMessage(id) }
        let content: OutboundMessage.Content =
            switch found.content {
            case .memory(let octets): .memory(octets)
            case .file(_, _, let count): .unopened(count: count)
            }
        return OutboundMessage(envelope: found.envelope, content: content)
    }

    func openContent(of message: OutboundMessage) throws(SpoolError) -> ContentFile {
        let id = message.envelope.id
        guard case .file(let path, let offset, let count)? = messages.withLock({ $0[id]?.content })
        else { throw .unknownMessage(id) }
        if let gate = gate.withLock({ $0 }) { _ = gate.takeOne() }
        if let error = openingFails.withLock({ $0.popLast() }) { throw error }
        let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw .storage("open: errno \(errno)") }
        return ContentFile(OwnedDescriptor(taking: number), offset: offset, count: count)
    }

    /// What the next calls of `openContent` throw, the last first.
    let openingFails = Mutex<[SpoolError]>([])

    /// What each call of `openContent` waits for, if there is one.
    let gate = Mutex<Inbox<Void>?>(nil)

    var folder: String { "/tmp" }

    func record(_ outcomes: [DeliveryOutcome]) {
        batches.add(1, ordering: .relaxed)
        for outcome in outcomes { self.outcomes.post(outcome) }
    }

    /// Waits for so many outcomes.
    func take(_ count: Int) throws -> [DeliveryOutcome] {
        var taken: [DeliveryOutcome] = []
        while taken.count < count {
            guard case .elements(let more) = outcomes.take(within: .seconds(30)) else {
                Issue.record("\(taken.count) of \(count) outcomes in 30 s")
                return taken
            }
            taken += more
        }
        return taken
    }

    /// Adds a message, from sender@example.org unless said otherwise; what the queue would hand out for it.
    func add(
        _ number: UInt64, to recipients: [String] = ["a@example.com"],
        content: Content = .memory(Array("Subject: x\r\n\r\nx\r\n".utf8)),
        traits: ContentSummary.Traits = [], notify: NotifyConditions = [],
        from sender: String = "sender@example.org", requireTLS: Bool = false, destination: String
    ) throws -> WorkItem {
        let id = MessageID(rawValue: number)
        let transaction = MailTransaction(
            reversePath: Mailbox(sender).map { .mailbox($0) } ?? .null,
            parameters: MailParameters(requireTLS: requireTLS),
            recipients: try recipients.map {
                AcceptedRecipient(path: .mailbox(try #require(Mailbox($0))), notify: notify)
            })
        let envelope = Envelope(
            id: id, arrival: UnixTime(seconds: 0), client: ClientTrace(), transaction: transaction,
            summary: ContentSummary(octetCount: UInt64(content.count), traits: traits))
        messages.withLock { $0[id] = (envelope, content) }
        return WorkItem(
            id: id, destination: Destination(name: destination), octets: UInt64(content.count),
            recipients: .allPending(UInt32(recipients.count)))
    }
}

extension DeliveryOutcome {
    /// `delivered 2.0.0`, or with the recipients' numbers `0: relayed 2.0.0, 1: failed 5.1.1`.
    var summary: String {
        switch results {
        case .all(let result): result.summary
        case .unreached(let status): RecipientResult.deferred(status).summary
        case .each(let list):
            list.map { "\($0.recipient): \($0.result.summary)" }.joined(separator: ", ")
        }
    }
}

extension DeliveryOutcome {
    /// Why all recipients are put off, if they are.
    var deferral: DeliveryStatus? {
        switch results {
        case .all(.deferred(let status)), .unreached(let status): status
        case .all, .each: nil
        }
    }

    /// Nothing was said about the message.
    var isUnreached: Bool {
        if case .unreached = results { true } else { false }
    }
}

extension RecipientResult {
    var summary: String {
        let word =
            switch self {
            case .delivered: "delivered"
            case .relayed(_, let reportsFollow): reportsFollow ? "relayed, DSN" : "relayed"
            case .deferred: "deferred"
            case .failed: "failed"
            case .notAttempted: "not attempted"
            }
        guard let status else { return word }
        return word + " " + (status.enhancedStatus?.description ?? "\(status.code)")
    }
}
