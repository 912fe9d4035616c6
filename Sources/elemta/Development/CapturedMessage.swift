import ElemtaQueue
import ElemtaSMTP

/// A message that dev mode has accepted.
final class CapturedMessage: Sendable {
    /// Held, with the reason why nothing is tried: what `elemta queue` shows of it is true.
    let envelope: Envelope
    let content: [UInt8]
    /// As a person reads it; nil without a Subject field.
    let subject: String?

    var id: MessageID { envelope.id }

    /// Octets that it takes of `MessageShelf.Limits.octets`.
    var octetCount: Int {
        content.count + envelope.recipients.reduce(0) { $0 + Int($1.path.accountedCount) }
    }

    private static let reason = DeliveryStatus(
        text: Array("dev mode: kept in memory, never delivered".utf8))

    /// Copies the content: the segments that it came in take more memory than it has octets.
    init(_ envelope: Envelope, _ content: any SpoolContent) {
        var octets: [UInt8] = []
        octets.reserveCapacity(content.octetCount)
        content.forEachSegment { segment in
            for index in segment.indices { octets.append(segment[index]) }
        }
        self.content = octets
        subject = Subject.text(of: HeaderSection(of: octets))
        var kept = envelope
        kept.contentOctets = UInt64(octets.count)
        kept.isHeld = true
        kept.recipients = envelope.recipients.map { recipient in
            var recipient = recipient
            recipient.state = .pending(attempts: 0, nextAttempt: nil, lastReason: Self.reason)
            return recipient
        }
        self.envelope = kept
    }
}
