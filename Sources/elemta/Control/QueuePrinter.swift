import ElemtaQueue
import ElemtaSMTP

/// How messages are printed: a table for people, a JSON object a line for programs.
struct QueuePrinter {
    let form: QueueRequest.Form
    let remark: QueueRemark

    var heading: [UInt8] {
        guard form == .table else { return [] }
        let last =
            switch remark {
            case .reason: "REASON"
            case .subject: "SUBJECT"
            }
        return line(["ID", "STATE", "ARRIVED", "OCTETS", "RCPTS", "FROM", "TO", last])
    }

    func line(_ message: MessageSummary, subject: String?) -> [UInt8] {
        let recipient = message.recipient.map { "\($0)" } ?? ""
        guard form == .table else {
            var object = JSONObject()
            object.add("id", "\(message.id)")
            object.add("state", message.state.rawValue)
            object.add("arrival", message.arrival.rfc3339)
            object.add("octets", Int(clamping: message.octets))
            object.add("from", "\(message.reversePath)")
            object.add("to", recipient)
            object.add("recipients", message.recipientCount)
            object.add("pending", message.pendingCount)
            object.add("next_attempt", message.nextAttempt?.rfc3339)
            object.add("reason", message.reason.map(describe))
            if case .subject = remark { object.add("subject", subject) }
            return object.line
        }
        let last =
            switch remark {
            case .reason: message.reason.map(describe)
            case .subject: subject
            }
        return line([
            "\(message.id)", message.state.rawValue, message.arrival.rfc3339,
            "\(message.octets)", "\(message.pendingCount)/\(message.recipientCount)",
            "\(message.reversePath)", recipient, last ?? "",
        ])
    }

    /// A message's envelope with its story so far, then its header section.
    func message(_ envelope: Envelope, header: [UInt8]) -> [UInt8] {
        guard form == .table else {
            var object = object(envelope)
            object.add("header", String(decoding: header, as: UTF8.self))
            return object.line
        }
        let lines = String(decoding: header, as: UTF8.self)
            .split(whereSeparator: \.isNewline)
            .map { $0.split(separator: "\t", omittingEmptySubsequences: false) }
            .map { $0.map { printable(String($0)) }.joined(separator: "\t") }
        return describe(envelope) + Array("\n\(lines.joined(separator: "\n"))\n".utf8)
    }

    func story(_ story: QueueStory) -> [UInt8] {
        form == .table ? story.text(self) : story.object(self).line
    }

    /// What an operation came to.
    func change(_ operation: QueueOperation, _ count: Int, missing: [MessageID]) -> [UInt8] {
        guard form == .table else {
            var object = JSONObject()
            object.add("operation", operation.word)
            object.add("changed", count)
            object.add("missing", missing.map(\.description))
            return object.line
        }
        return Array("\(operation.pastTense) \(count)\n".utf8)
    }

    func compaction(_ report: CompactionReport) -> [UInt8] {
        guard form == .table else {
            var object = JSONObject()
            object.add("before", Int(clamping: report.before))
            object.add("after", Int(clamping: report.after))
            return object.line
        }
        return Array("spool.mdb had \(report.before) octets and has \(report.after)\n".utf8)
    }

    func statistics(_ statistics: SpoolStatistics) -> [UInt8] {
        figures([
            ("messages", statistics.messages), ("octets", Int(clamping: statistics.octets)),
            ("outstanding", statistics.outstanding), ("held", statistics.held),
            ("failed", statistics.failed), ("unreachable", statistics.unreachable),
            ("file_octets", Int(clamping: statistics.fileOctets)),
        ])
    }

    /// Of the messages of a selection.
    func statistics(_ counts: SelectionCounts) -> [UInt8] {
        let states = QueueState.allCases.map { ($0.rawValue, counts.states[$0] ?? 0) }
        return figures(
            [("messages", counts.messages), ("octets", Int(clamping: counts.octets))] + states)
    }

    private func figures(_ figures: [(String, Int)]) -> [UInt8] {
        guard form == .table else {
            var object = JSONObject()
            for (name, figure) in figures { object.add(name, figure) }
            return object.line
        }
        return figures.flatMap { Array("\(padded($0.0, 12)) \($0.1)\n".utf8) }
    }

    /// What comes between messages.
    struct Separator {
        fileprivate let octets: [UInt8]
        private var isFirst = true

        fileprivate init(_ octets: [UInt8]) { self.octets = octets }

        /// Nothing before the first.
        mutating func next() -> [UInt8] {
            defer { isFirst = false }
            return isFirst ? [] : octets
        }
    }

    var separator: Separator { Separator(form == .table ? Array("\n".utf8) : []) }

    private func describe(_ envelope: Envelope) -> [UInt8] {
        var text = """
            id          \(envelope.id)
            arrived     \(envelope.arrival.rfc3339)
            from        \(printable("\(envelope.reversePath)"))
            client      \(envelope.client.address.map { "\($0)" } ?? "local") \
            \(printable(String(decoding: envelope.client.heloName, as: UTF8.self))) \
            \(envelope.client.protocolName)
            octets      \(envelope.contentOctets)
            held        \(envelope.isHeld ? "yes" : "no")

            """
        for recipient in envelope.recipients {
            text += "to          \(printable("\(recipient.path)")) "
            text += "\(describe(recipient.state, isHeld: envelope.isHeld))\n"
        }
        for attempt in envelope.attempts {
            text += "attempt     \(attempt.time.rfc3339) \(printable(attempt.destination)) "
            text += "delivered \(attempt.delivered) deferred \(attempt.deferred) "
            text += "failed \(attempt.failed): \(describe(attempt.status))\n"
        }
        return Array(text.utf8)
    }

    func object(_ envelope: Envelope) -> JSONObject {
        var object = JSONObject()
        object.add("id", "\(envelope.id)")
        object.add("arrival", envelope.arrival.rfc3339)
        object.add("from", "\(envelope.reversePath)")
        object.add("client", envelope.client.address.map { "\($0)" })
        object.add("helo", String(decoding: envelope.client.heloName, as: UTF8.self))
        object.add("protocol", envelope.client.protocolName)
        object.add("octets", Int(clamping: envelope.contentOctets))
        object.add("held", envelope.isHeld)
        object.add(
            "recipients",
            envelope.recipients.map { recipient in
                var object = JSONObject()
                object.add("to", "\(recipient.path)")
                object.add("state", describe(recipient.state, isHeld: envelope.isHeld))
                return object
            })
        object.add(
            "attempts",
            envelope.attempts.map { attempt in
                var object = JSONObject()
                object.add("time", attempt.time.rfc3339)
                object.add("destination", attempt.destination)
                object.add("delivered", Int(attempt.delivered))
                object.add("deferred", Int(attempt.deferred))
                object.add("failed", Int(attempt.failed))
                object.add("reason", describe(attempt.status))
                if !attempt.status.security.isEmpty {
                    object.add("security", attempt.status.security)
                }
                return object
            })
        return object
    }

    private func describe(_ state: RecipientState, isHeld: Bool) -> String {
        switch state {
        case .pending(let attempts, let next, let reason):
            let due = isHeld ? "held" : next.map { "next \($0.rfc3339)" } ?? "due now"
            return "pending, attempts \(attempts), \(due)"
                + (reason.map { ": " + describe($0) } ?? "")
        case .delivered(let status): return "delivered: \(describe(status))"
        case .failed(let status): return "failed: \(describe(status))"
        }
    }

    func describe(_ status: DeliveryStatus) -> String {
        var words: [String] = []
        if !status.nextHop.isEmpty { words.append("\(status.nextHop):") }
        if status.code > 0 { words.append("\(status.code)") }
        let text = String(decoding: status.text, as: UTF8.self)
        // Another server's words begin with it.
        if let enhanced = status.enhancedStatus, !text.hasPrefix("\(enhanced)") {
            words.append("\(enhanced)")
        }
        words.append(text)
        return printable(words.joined(separator: " "))
    }

    private func line(_ columns: [String]) -> [UInt8] {
        let widths = [13, 8, 20, 9, 7, 24, 24, 0]
        let cells = zip(columns, widths).map { padded(printable($0), $1) }
        return Array((cells.joined(separator: " ") + "\n").utf8)
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// What a client or a next hop said must not act on the operator's terminal. In one line, whatever
    /// it holds: replies of several lines have " / " between them.
    func printable(_ text: String) -> String {
        var printable = ""
        for scalar in text.unicodeScalars where scalar != "\r" {
            if scalar == "\n" {
                printable += " / "
                continue
            }
            printable.unicodeScalars.append(scalar.isHarmless ? scalar : "?")
        }
        return printable
    }
}
