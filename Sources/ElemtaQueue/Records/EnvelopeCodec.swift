import ElemtaSMTP

/// Where the content of a message is kept.
enum ContentPlace: Hashable, Sendable {
    /// Behind the envelope, in the same record.
    case inline
    /// In that many records of the `content` table.
    case pieces(UInt32)
    /// In a content file.
    case file
}

/// The payload of an envelope record, version 1. A change of the layout is a new record version;
/// what a flag announces that was never set before is none, as old records read as they did.
enum EnvelopeCodec {
    /// More would make a record that no memory budget foresees; 1,000 recipients of the longest
    /// kind with the longest reasons take a third of it.
    static let maximumOctets = 8 << 20

    static func encode(_ envelope: Envelope, place: ContentPlace, into writer: inout OctetWriter) {
        switch place {
        case .inline: writer.put(octet: 0)
        case .pieces(let count):
            writer.put(octet: 1)
            writer.put(UInt64(count))
        case .file: writer.put(octet: 2)
        }
        writer.put(envelope.contentOctets)
        writer.put(envelope.arrival.seconds)
        writer.put(octet: envelope.isHeld ? 1 : 0)
        encode(envelope.client, into: &writer)
        encode(envelope.reversePath.mailbox, into: &writer)
        encode(envelope.parameters, into: &writer)
        encode(envelope.summary, into: &writer)
        writer.put(UInt64(envelope.attempts.count))
        for attempt in envelope.attempts { encode(attempt, into: &writer) }
        writer.put(UInt64(envelope.recipients.count))
        for recipient in envelope.recipients { encode(recipient, into: &writer) }
    }

    /// Reads a payload. Octets behind the envelope are the inline content and left alone; how many
    /// the payload took is `count`.
    static func decode(
        _ payload: Span<UInt8>, id: MessageID
    ) throws(RecordDamage) -> (envelope: Envelope, place: ContentPlace, count: Int) {
        try OctetReader.reading(payload) { reader throws(RecordDamage) in
            let (envelope, place) = try decode(&reader, id: id)
            return (envelope, place, reader.position)
        }
    }

    private static func decode(
        _ reader: inout OctetReader, id: MessageID
    ) throws(RecordDamage) -> (Envelope, ContentPlace) {
        let place: ContentPlace =
            switch try reader.octet("content place") {
            case 0: .inline
            case 1: .pieces(try reader.integer32("number of pieces"))
            case 2: .file
            default: throw .malformed("content place")
            }
        let contentOctets = try reader.integer("content size")
        let arrival = UnixTime(seconds: try reader.signed("arrival"))
        let isHeld = try reader.octet("hold") != 0
        let client = try decodeClient(&reader)
        let reversePath = try decodeMailbox(&reader, "reverse-path")
        let parameters = try decodeParameters(&reader)
        let summary = try decodeSummary(&reader)
        var attempts: [DeliveryAttempt] = []
        for _ in 0..<(try count(&reader, "attempts")) {
            attempts.append(try decodeAttempt(&reader))
        }
        var recipients: [QueuedRecipient] = []
        let recipientCount = try count(&reader, "recipients")
        recipients.reserveCapacity(recipientCount)
        for _ in 0..<recipientCount { recipients.append(try decodeRecipient(&reader)) }
        var envelope = Envelope(
            id: id, arrival: arrival, client: client,
            transaction: MailTransaction(
                reversePath: reversePath.map(ReversePath.mailbox) ?? .null,
                parameters: parameters),
            summary: summary)
        envelope.recipients = recipients
        envelope.contentOctets = contentOctets
        envelope.isHeld = isHeld
        envelope.attempts = attempts
        return (envelope, place)
    }

    /// A number of things that follow, each at least two octets long: a damaged number can't make
    /// us reserve memory for what isn't there.
    private static func count(
        _ reader: inout OctetReader, _ field: StaticString
    ) throws(RecordDamage) -> Int {
        let count = try reader.integer(field)
        guard count <= UInt64(reader.remaining / 2) else { throw .malformed("\(field)") }
        return Int(count)
    }
}

// MARK: - Parts

extension EnvelopeCodec {
    private static func encode(_ client: ClientTrace, into writer: inout OctetWriter) {
        writer.put(client.heloName)
        switch client.address?.storage {
        case nil: writer.put(octet: 0)
        case .v4(let bits):
            writer.put(octet: 4)
            writer.put(UInt64(bits))
        case .v6(let high, let low):
            writer.put(octet: 6)
            writer.put(high)
            writer.put(low)
        }
        writer.put(client.protocolName)
        encode(client.user.map { Array($0.utf8) }, into: &writer)
    }

    private static func decodeClient(
        _ reader: inout OctetReader
    ) throws(RecordDamage) -> ClientTrace {
        var client = ClientTrace(heloName: try reader.string("HELO name"))
        switch try reader.octet("client address") {
        case 0: client.address = nil
        case 4: client.address = IPAddress(v4: try reader.integer32("client address"))
        case 6:
            let high = try reader.integer("client address")
            let low = try reader.integer("client address")
            client.address = IPAddress(v6High: high, v6Low: low)
        default: throw .malformed("client address")
        }
        client.protocolName = try reader.text("protocol")
        client.user = try decodeOptional(&reader, "user").map {
            String(decoding: $0, as: UTF8.self)
        }
        return client
    }

    private static func encode(_ parameters: MailParameters, into writer: inout OctetWriter) {
        let flags: UInt8 =
            (parameters.smtputf8 ? 1 : 0) | (parameters.requireTLS ? 2 : 0)
            | (parameters.returnContent == .full ? 4 : 0)
            | (parameters.returnContent == .headers ? 8 : 0)
            | (parameters.bodyType == .eightBitMIME ? 16 : 0)
            | (parameters.bodyType == .binaryMIME ? 32 : 0)
            | (parameters.declaredSize != nil ? 64 : 0)
            | (parameters.submitter != nil ? 128 : 0)
        writer.put(octet: flags)
        if let size = parameters.declaredSize { writer.put(size) }
        encode(parameters.envelopeID, into: &writer)
        if let submitter = parameters.submitter { writer.put(submitter) }
    }

    private static func decodeParameters(
        _ reader: inout OctetReader
    ) throws(RecordDamage) -> MailParameters {
        let flags = try reader.octet("parameters")
        guard flags & 12 != 12, flags & 48 != 48 else { throw .malformed("parameters") }
        let size = flags & 64 != 0 ? try reader.integer("SIZE") : nil
        let envelopeID = try decodeOptional(&reader, "ENVID")
        let submitter = flags & 128 != 0 ? try reader.string("submitter") : nil
        return MailParameters(
            declaredSize: size,
            bodyType: flags & 16 != 0 ? .eightBitMIME : flags & 32 != 0 ? .binaryMIME : .sevenBit,
            smtputf8: flags & 1 != 0,
            returnContent: flags & 4 != 0 ? .full : flags & 8 != 0 ? .headers : nil,
            envelopeID: envelopeID, requireTLS: flags & 2 != 0, submitter: submitter)
    }

    private static func encode(_ summary: ContentSummary, into writer: inout OctetWriter) {
        writer.put(summary.octetCount)
        writer.put(octet: summary.traits.rawValue)
        writer.put(summary.longestLine)
        writer.put(UInt64(summary.receivedFieldCount))
    }

    private static func decodeSummary(
        _ reader: inout OctetReader
    ) throws(RecordDamage) -> ContentSummary {
        ContentSummary(
            octetCount: try reader.integer("content summary"),
            traits: ContentSummary.Traits(rawValue: try reader.octet("content traits")),
            longestLine: try reader.integer("longest line"),
            receivedFieldCount: try reader.integer32("trace fields"))
    }

    private static func encode(_ recipient: QueuedRecipient, into writer: inout OctetWriter) {
        encode(recipient.path.mailbox, into: &writer)
        writer.put(octet: recipient.notify.rawValue)
        let original = recipient.originalRecipient
        writer.put(octet: (original != nil ? 1 : 0) | (recipient.delayReported ? 2 : 0))
        if let original {
            writer.put(original.addressType)
            writer.put(original.address)
        }
        switch recipient.state {
        case .pending(let attempts, let nextAttempt, let reason):
            writer.put(octet: (nextAttempt != nil ? 4 : 0) | (reason != nil ? 8 : 0))
            writer.put(UInt64(attempts))
            if let nextAttempt { writer.put(nextAttempt.seconds) }
            if let reason { encode(reason, into: &writer) }
        case .delivered(let status):
            writer.put(octet: 1)
            encode(status, into: &writer)
        case .failed(let status):
            writer.put(octet: 2)
            encode(status, into: &writer)
        }
    }

    private static func decodeRecipient(
        _ reader: inout OctetReader
    ) throws(RecordDamage) -> QueuedRecipient {
        let mailbox = try decodeMailbox(&reader, "forward-path")
        let notify = NotifyConditions(rawValue: try reader.octet("NOTIFY"))
        var original: OriginalRecipient?
        let flags = try reader.octet("recipient flags")
        guard flags < 4 else { throw .malformed("recipient flags") }
        if flags & 1 != 0 {
            let type = try reader.string("ORCPT")
            original = OriginalRecipient(addressType: type, address: try reader.string("ORCPT"))
        }
        let tag = try reader.octet("recipient state")
        let state: RecipientState
        switch tag {
        case 0, 4, 8, 12:
            let attempts = try reader.integer32("attempts")
            let next = tag & 4 != 0 ? UnixTime(seconds: try reader.signed("next attempt")) : nil
            let reason = tag & 8 != 0 ? try decodeStatus(&reader) : nil
            state = .pending(attempts: attempts, nextAttempt: next, lastReason: reason)
        case 1: state = .delivered(try decodeStatus(&reader))
        case 2: state = .failed(try decodeStatus(&reader))
        default: throw .malformed("recipient state")
        }
        var recipient = QueuedRecipient(
            path: mailbox.map(ForwardPath.mailbox) ?? .postmaster, notify: notify,
            originalRecipient: original, state: state)
        recipient.delayReported = flags & 2 != 0
        return recipient
    }

    private static func encode(_ attempt: DeliveryAttempt, into writer: inout OctetWriter) {
        writer.put(attempt.time.seconds)
        writer.put(attempt.destination)
        writer.put(UInt64(attempt.delivered))
        writer.put(UInt64(attempt.deferred))
        writer.put(UInt64(attempt.failed))
        encode(attempt.status, into: &writer)
    }

    private static func decodeAttempt(
        _ reader: inout OctetReader
    ) throws(RecordDamage) -> DeliveryAttempt {
        DeliveryAttempt(
            time: UnixTime(seconds: try reader.signed("attempt")),
            destination: try reader.text("destination"),
            delivered: try reader.integer32("attempt"),
            deferred: try reader.integer32("attempt"),
            failed: try reader.integer32("attempt"), status: try decodeStatus(&reader))
    }

    private static func encode(_ status: DeliveryStatus, into writer: inout OctetWriter) {
        writer.put(UInt64(status.code))
        let flag = status.security.isEmpty ? 0 : securityFollows
        if let enhanced = status.enhancedStatus {
            writer.put(octet: enhanced.class.rawValue | flag)
            writer.put(UInt64(enhanced.subject))
            writer.put(UInt64(enhanced.detail))
        } else {
            writer.put(octet: flag)
        }
        writer.put(status.text)
        writer.put(status.nextHop)
        if !status.security.isEmpty { writer.put(status.security) }
    }

    /// Beside the class of an enhanced status code.
    private static let securityFollows: UInt8 = 0x80

    private static func decodeStatus(
        _ reader: inout OctetReader
    ) throws(RecordDamage) -> DeliveryStatus {
        guard let code = UInt16(exactly: try reader.integer("reply code")) else {
            throw .malformed("reply code")
        }
        var enhanced: EnhancedStatus?
        let octet = try reader.octet("enhanced status")
        let tag = octet & ~securityFollows
        if tag != 0 {
            guard let `class` = EnhancedStatus.Class(rawValue: tag),
                let subject = UInt16(exactly: try reader.integer("enhanced status")),
                let detail = UInt16(exactly: try reader.integer("enhanced status"))
            else { throw .malformed("enhanced status") }
            enhanced = EnhancedStatus(`class`, subject, detail)
        }
        return DeliveryStatus(
            code: code, enhancedStatus: enhanced, text: try reader.string("status text"),
            nextHop: try reader.text("next hop"),
            security: octet & securityFollows != 0 ? try reader.text("security") : "")
    }

    private static func encode(_ mailbox: Mailbox?, into writer: inout OctetWriter) {
        // No mailbox is empty, so that the empty string stands for <> and <Postmaster>.
        writer.put(mailbox?.octets ?? [])
    }

    private static func decodeMailbox(
        _ reader: inout OctetReader, _ field: StaticString
    ) throws(RecordDamage) -> Mailbox? {
        let octets = try reader.string(field)
        if octets.isEmpty { return nil }
        guard let mailbox = Mailbox(octets: octets.span) else { throw .malformed("\(field)") }
        return mailbox
    }

    private static func encode(_ value: [UInt8]?, into writer: inout OctetWriter) {
        writer.put(octet: value == nil ? 0 : 1)
        if let value { writer.put(value) }
    }

    private static func decodeOptional(
        _ reader: inout OctetReader, _ field: StaticString
    ) throws(RecordDamage) -> [UInt8]? {
        switch try reader.octet(field) {
        case 0: nil
        case 1: try reader.string(field)
        default: throw .malformed("\(field)")
        }
    }
}
