import ElemtaSMTP

/// What a report says about one recipient: the Action field of RFC 3464 2.3.3.
enum ReportAction: String, Sendable {
    case failed
    case delayed
    case delivered
    case relayed
    /// An alias of several mailboxes, each of which may still fail.
    case expanded
}

struct ReportedRecipient: Sendable {
    let recipient: QueuedRecipient
    let action: ReportAction
    let status: DeliveryStatus
    /// Nil where nothing has been tried (RFC 3464 2.3.7).
    var lastAttempt: UnixTime?
    /// Until when it will be tried, for a delay.
    var retriedUntil: UnixTime?
}

/// A delivery status notification: a `multipart/report` (RFC 3462) with a text for people, the
/// fields of RFC 3464 for programs, and the original message or its header section.
///
/// Lines end with CRLF and hold no NUL and no bare CR or LF whatever the original held. UTF-8
/// addresses are written as RFC 6533 says. Every next hop can take the report: only where its own
/// recipient needs SMTPUTF8, which comes with 8BITMIME (RFC 6531 3.1), does it hold 8-bit octets.
/// Being from nobody, a report that were refused for them would be lost.
struct DeliveryReport {
    let original: Envelope
    let recipients: [ReportedRecipient]
    let hostname: String
    let id: MessageID
    let now: UnixTime

    /// Octets of an original that are sent back at most; of a larger one the header section is.
    static let returnedOctets = 1 << 16

    /// The report as a message of its own. Nil for a message from <>: about those nobody is ever
    /// told (RFC 5321 4.5.5).
    ///
    /// - Parameter content: the first octets of the original's content, at least
    ///   `returnedOctets` of them if there are so many; nil if they can't be read.
    func message(returning content: [UInt8]?) -> (envelope: Envelope, content: [UInt8])? {
        guard case .mailbox(let sender) = original.reversePath, !recipients.isEmpty
        else { return nil }
        let mayBeEightBit = sender.isInternationalized
        var parts = ReportWriter()
        for part in [text, status] + (content.map { [returned($0, mayBeEightBit)] } ?? []) {
            parts.line("--\(boundary)")
            part.write(mayBeEightBit: mayBeEightBit, to: &parts)
        }
        parts.line("--\(boundary)--")
        var message = ReportWriter()
        writeFields(to: sender, areEightBit: parts.isEightBit, &message)
        message.verbatim(parts.octets)

        var traits: ContentSummary.Traits = message.isEightBit ? .eightBit : []
        if mayBeEightBit { traits.insert(.eightBitHeader) }
        let summary = ContentSummary(
            octetCount: UInt64(message.octets.count), traits: traits,
            longestLine: UInt64(message.longestLine))
        let parameters = MailParameters(
            bodyType: message.isEightBit ? .eightBitMIME : .sevenBit,
            smtputf8: sender.isInternationalized,
            // RFC 8689 5: what it says of the original is as worthy of protection.
            requireTLS: original.parameters.requireTLS)
        let transaction = MailTransaction(
            reversePath: .null, parameters: parameters,
            recipients: [AcceptedRecipient(path: .mailbox(sender))])
        let envelope = Envelope(
            id: id, arrival: now, client: ClientTrace(), transaction: transaction,
            summary: summary)
        return (envelope, message.octets)
    }

    // Unguessable through the random part of the id: no content can end a part on purpose.
    private var boundary: String { "=_\(id)_elemta" }

    /// Some address needs the types of RFC 6533.
    private var isInternationalized: Bool {
        recipients.contains { $0.recipient.path.mailbox?.isInternationalized ?? false }
            || recipients.contains {
                $0.recipient.originalRecipient?.address.contains { $0 > 127 } ?? false
            }
    }

    private var worst: ReportAction {
        let actions = recipients.map(\.action)
        if actions.contains(.failed) { return .failed }
        if actions.contains(.delayed) { return .delayed }
        return actions.contains(.relayed) ? .relayed : .delivered
    }

    // MARK: - Parts

    /// One part of the report.
    private struct Part {
        let description: String
        let type: String
        let content: ReportWriter

        /// Writes the part without a line around it. What is 8-bit and may not be is encoded, which
        /// no part may be that is a message in itself (RFC 2045 6.4), save those of RFC 6532.
        func write(mayBeEightBit: Bool, to report: inout ReportWriter) {
            report.line("Content-Description: \(description)")
            report.line("Content-Type: \(type)")
            guard content.isEightBit else {
                report.line("")
                return report.verbatim(content.octets)
            }
            let encoding = mayBeEightBit ? "8bit" : "quoted-printable"
            report.line("Content-Transfer-Encoding: \(encoding)")
            report.line("")
            report.verbatim(
                mayBeEightBit ? content.octets : QuotedPrintable.encode(content.octets))
        }
    }

    /// - Parameter areEightBit: some part is; then the whole has to say so (RFC 2045 6.4).
    private func writeFields(
        to sender: Mailbox, areEightBit: Bool, _ body: inout ReportWriter
    ) {
        let subject =
            switch worst {
            case .failed: "Undelivered mail returned to sender"
            case .delayed: "Delivery is delayed"
            case .delivered, .relayed, .expanded: "Successful mail delivery report"
            }
        body.line("From: Mail Delivery System <MAILER-DAEMON@\(hostname)>")
        body.line("To: <\(sender)>")
        body.line("Subject: \(subject)")
        body.line("Date: \(now.rfc5322)")
        body.line("Message-ID: <\(id)@\(hostname)>")
        // RFC 3834 5.2: no vacation program must answer this.
        body.line("Auto-Submitted: auto-replied")
        body.line("MIME-Version: 1.0")
        if areEightBit { body.line("Content-Transfer-Encoding: 8bit") }
        body.line("Content-Type: multipart/report; report-type=delivery-status;")
        body.line(" boundary=\"\(boundary)\"")
        body.line("")
        body.line("This is a delivery report in MIME format.")
        body.line("")
    }

    private var text: Part {
        var body = ReportWriter()
        body.line("This is the mail system at \(hostname).")
        for (action, text) in Self.explanations {
            let concerned = recipients.filter { $0.action == action }
            guard !concerned.isEmpty else { continue }
            body.line("")
            for line in text { body.line(line) }
            for entry in concerned { writeText(about: entry, &body) }
        }
        body.line("")
        body.line("Your message arrived here on \(original.arrival.rfc5322).")
        body.line("For help, write to postmaster@\(hostname) and include this report.")
        body.line("")
        return Part(
            description: "Notification",
            type: "text/plain; charset=\(isInternationalized ? "utf-8" : "us-ascii")",
            content: body)
    }

    private static let explanations: [(ReportAction, [String])] = [
        (
            .failed,
            [
                "Your message could not be delivered to the recipients below, and no further",
                "attempt will be made. The reason that was given stands beside each of them;",
                "where it names the address, check its spelling before you send again.",
            ]
        ),
        (
            .delayed,
            [
                "Your message has not been delivered to the recipients below yet. You need not",
                "do anything: it will be tried again, and you will be told if that fails.",
            ]
        ),
        (.delivered, ["Your message has been delivered to the recipients below."]),
        (
            .relayed,
            [
                "Your message has been handed on towards the recipients below. The next mail",
                "system does not send such reports, so that this is the last you will hear.",
            ]
        ),
        (
            .expanded,
            [
                "Your message has arrived at the addresses below, which stand for several",
                "mailboxes, and is on its way to these. You will hear of those that it doesn't",
                "reach, if that is what you asked for.",
            ]
        ),
    ]

    private func writeText(about entry: ReportedRecipient, _ body: inout ReportWriter) {
        body.line("")
        body.line("  \(entry.recipient.path)")
        let reason = body.printable(entry.status.text, utf8: isInternationalized)
        var words = reason
        if entry.status.code > 0 { words = "\(entry.status.code) \(words)" }
        if entry.status.isQuoted, !entry.status.nextHop.isEmpty {
            words = "\(entry.status.nextHop) said: \(words)"
        }
        if !words.isEmpty { body.folded("", words, indent: "    ") }
        if let until = entry.retriedUntil {
            body.line("    It will be tried until \(until.rfc5322).")
        }
    }

    private var status: Part {
        let global = isInternationalized
        var body = ReportWriter()
        if let envelopeID = original.parameters.envelopeID {
            // Not folded: it comes back as it was given (RFC 3464 2.2.1), at most 100 octets.
            body.line("Original-Envelope-Id: \(body.printable(envelopeID, utf8: false))")
        }
        body.field("Reporting-MTA", "dns; \(hostname)")
        if !original.client.heloName.isEmpty {
            let name = body.printable(original.client.heloName, utf8: false)
            body.field("Received-From-MTA", "dns; \(name)")
        }
        body.field("Arrival-Date", original.arrival.rfc5322)
        for entry in recipients {
            body.line("")
            writeStatus(of: entry, global, &body)
        }
        body.line("")
        return Part(
            description: "Delivery report",
            type: "message/\(global ? "global-delivery-status" : "delivery-status")",
            content: body)
    }

    private func writeStatus(
        of entry: ReportedRecipient, _ global: Bool, _ body: inout ReportWriter
    ) {
        if let first = entry.recipient.originalRecipient {
            let type = body.printable(first.addressType, utf8: false)
            let address = body.printable(first.address, utf8: global)
            body.field("Original-Recipient", "\(type); \(address)")
        }
        switch entry.recipient.path {
        case .postmaster: body.field("Final-Recipient", "rfc822; Postmaster")
        case .mailbox(let mailbox):
            // RFC 6533 3: the address type "utf-8" where ASCII doesn't do.
            let type = mailbox.isInternationalized ? "utf-8" : "rfc822"
            body.field("Final-Recipient", "\(type); \(mailbox)")
        }
        body.field("Action", entry.action.rawValue)
        body.field("Status", status(of: entry).description)
        if let name = entry.status.remoteMTA { body.field("Remote-MTA", "dns; \(name)") }
        let words = body.printable(entry.status.text, utf8: global)
        if entry.status.isQuoted {
            body.field("Diagnostic-Code", "smtp; \(entry.status.code) \(words)")
        } else if !words.isEmpty {
            body.field("Diagnostic-Code", "x-elemta; \(words)")
        }
        if let last = entry.lastAttempt { body.field("Last-Attempt-Date", last.rfc5322) }
        if let until = entry.retriedUntil { body.field("Will-Retry-Until", until.rfc5322) }
    }

    /// The Status field must be there (RFC 3464 2.3.4); its class says what the action says,
    /// save that what failed by expiry keeps the transient code of its last attempt (RFC 3463 3.5).
    private func status(of entry: ReportedRecipient) -> EnhancedStatus {
        let given = entry.status.enhancedStatus
        switch entry.action {
        case .failed:
            return given.flatMap { $0.class == .success ? nil : $0 }
                ?? EnhancedStatus(.permanentFailure, 0, 0)
        case .delayed:
            return given.flatMap { $0.class == .persistentTransientFailure ? $0 : nil }
                ?? EnhancedStatus(.persistentTransientFailure, 0, 0)
        case .delivered, .relayed, .expanded:
            return given.flatMap { $0.class == .success ? $0 : nil }
                ?? EnhancedStatus(.success, 0, 0)
        }
    }

    /// The original, or its header section. RET counts for failures only (RFC 3461 4.3); without it
    /// the header section is enough. It is all that may be returned with REQUIRETLS (RFC 8689 5), and
    /// all there is where the message can't be a part as it is.
    private func returned(_ content: [UInt8], _ mayBeEightBit: Bool) -> Part {
        let isGlobal = original.parameters.smtputf8
        let isFaithful =
            !original.summary.unsafeForData && !original.summary.traits.contains(.nul)
            && original.summary.longestLine <= 998
        if worst == .failed, original.parameters.returnContent == .full,
            !original.parameters.requireTLS, isFaithful,
            content.count == original.contentOctets, content.count <= Self.returnedOctets,
            let whole = whole(content, isGlobal || mayBeEightBit)
        {
            return Part(
                description: "Undelivered message",
                type: isGlobal ? "message/global" : "message/rfc822", content: whole)
        }
        var fields = ReportWriter()
        fields.verbatim(ReportWriter.headerSection(content))
        return Part(
            description: "Message header",
            type: isGlobal ? "message/global-headers" : "text/rfc822-headers", content: fields)
    }

    /// The original to be returned. Nil where it holds 8-bit octets that may not be and can't be
    /// encoded part by part (RFC 6152 3), as the whole may not be (RFC 2045 6.4).
    private func whole(_ content: [UInt8], _ mayBeEightBit: Bool) -> ReportWriter? {
        var whole = ReportWriter()
        whole.verbatim(content)
        guard whole.isEightBit, !mayBeEightBit else { return whole }
        var survey = ConversionSurvey()
        survey.take(content.span)
        guard var converter = survey.finish() else { return nil }
        var converted: [UInt8] = []
        converter.take(content.span, into: &converted)
        _ = converter.finish(into: &converted)
        whole = ReportWriter()
        whole.verbatim(converted)
        return whole.isEightBit ? nil : whole
    }
}
