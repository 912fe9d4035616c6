import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// One message on its way over one connection, in as many transactions as its recipients take.
final class DeliveryJob {
    /// RFC 5321 4.5.3.1.8: every server takes so many; more go in further transactions.
    static let recipientsPerTransaction = 100

    let item: DestinationQueue.Item
    let message: OutboundMessage
    let began: MonotonicTime
    /// What this connection is sent, and what it is like.
    private(set) var content: OutboundMessage.Content
    private var summary: ContentSummary
    private var isConverted = false
    /// Indices into the envelope's recipients, those of the current transaction first.
    private var open: ArraySlice<Int>
    private var results: [(recipient: UInt32, result: RecipientResult)] = []

    /// Nil when nobody is left to deliver to.
    init?(_ item: DestinationQueue.Item, _ message: OutboundMessage, at now: MonotonicTime) {
        let indices = item.recipients.pending(in: message.envelope)
        guard !indices.isEmpty else { return nil }
        self.item = item
        self.message = message
        began = now
        content = message.content
        summary = message.envelope.summary
        summary.octetCount = UInt64(message.content.count)
        open = indices[...]
    }

    /// Whether the content can be sent as it is, as far as we are concerned.
    var isOpened: Bool {
        if case .unopened = content { false } else { true }
    }

    /// Whether there is something in the content to be encoded, and that hasn't been tried.
    var mayBeConverted: Bool { !isConverted && summary.isEightBit }

    /// The content was opened or encoded. `summary` nil: it is what it was.
    func take(_ content: OutboundMessage.Content, _ summary: ContentSummary?) {
        self.content = content
        if let summary { self.summary = summary }
        isConverted = true
    }

    /// Encodes content in 7 bits, here and now.
    func convert(_ octets: [UInt8]) {
        var survey = ConversionSurvey()
        survey.take(octets.span)
        guard var converter = survey.finish() else { return take(content, nil) }
        var converted: [UInt8] = []
        converter.take(octets.span, into: &converted)
        let summary = converter.finish(into: &converted)
        take(.memory(converted), summary)
    }

    var isComplete: Bool { open.isEmpty }

    /// Recipients without a result.
    var openCount: Int { open.count }

    /// The recipients of the current transaction.
    private var current: ArraySlice<Int> { open.prefix(Self.recipientsPerTransaction) }

    var transaction: ClientTransaction {
        let envelope = message.envelope
        return ClientTransaction(
            reversePath: envelope.reversePath, parameters: envelope.parameters,
            recipients: current.map { index in
                let recipient = envelope.recipients[index]
                return AcceptedRecipient(
                    path: recipient.path, notify: recipient.notify,
                    originalRecipient: recipient.originalRecipient)
            },
            content: summary)
    }

    /// Takes the verdicts of the current transaction, which came over a session with `security`;
    /// `body` hears of each recipient. `accepted` says what it means that a recipient was accepted.
    func settle(
        _ verdicts: [RecipientVerdict], _ target: DeliveryTarget, security: String,
        accepted: (DeliveryStatus) -> RecipientResult,
        _ body: (ForwardPath, RecipientResult) -> Void
    ) {
        for (index, verdict) in zip(current, verdicts) {
            func status(_ status: DeliveryStatus) -> DeliveryStatus {
                var status = status
                status.security = security
                return status
            }
            let result: RecipientResult =
                switch verdict {
                case .accepted(let reply):
                    accepted(status(DeliveryStatus(reply, nextHop: target.description)))
                case .deferred(let failure):
                    .deferred(status(FailureReason(failure, with: target).status))
                case .failed(let failure):
                    .failed(status(FailureReason(failure, with: target).status))
                }
            results.append((UInt32(index), result))
            body(message.envelope.recipients[index].path, result)
        }
        open = open.dropFirst(verdicts.count)
    }

    /// What the spool is told. Recipients without a result weren't tried.
    func outcome(for destination: Destination) -> DeliveryOutcome {
        if open.isEmpty, results.count == 1, message.envelope.recipients.count == 1 {
            return DeliveryOutcome(
                id: item.id, destination: destination, results: .all(results[0].result))
        }
        let results: DeliveryOutcome.Results =
            results.isEmpty ? .all(.notAttempted) : .each(results)
        return DeliveryOutcome(id: item.id, destination: destination, results: results)
    }
}

extension RecipientSelection {
    /// Those that are still to be delivered to, as indices into the envelope's recipients.
    func pending(in envelope: Envelope) -> [Int] {
        let recipients = envelope.recipients
        return switch self {
        case .allPending(_): recipients.indices.filter { recipients[$0].state.isPending }
        case .indices(let chosen):
            chosen.map { Int($0) }.filter {
                recipients.indices.contains($0) && recipients[$0].state.isPending
            }
        }
    }
}
