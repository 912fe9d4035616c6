import ElemtaDelivery
import ElemtaQueue
import ElemtaSMTP

/// One message's story: whom it came from, where it goes by which rule, what was tried, and what
/// comes next and when.
struct QueueStory {
    let envelope: Envelope
    let sight: QueueSight
    /// Nil where nothing is delivered.
    let rules: DeliveryRules?

    private var expiry: UnixTime? { rules.map { envelope.arrival + $0.retry.maximumQueueTime } }

    // MARK: - For people

    func text(_ printer: QueuePrinter) -> [UInt8] {
        var text = "\(envelope.id) is \(envelope.state(sight).rawValue)\n\n"
        text += "accepted  \(envelope.arrival.rfc3339) from \(printer.printable(client))\n"
        text += "          \(printer.printable("\(envelope.reversePath)")), "
        text += "\(envelope.contentOctets) octets\(wishes.isEmpty ? "" : ", \(wishes)")\n"
        for recipient in envelope.recipients {
            text += "\nto        \(printer.printable("\(recipient.path)"))\n"
            if let decision = decision(for: recipient) {
                text += "route     \(decision.destination) by \(words(for: decision))\n"
                if let security = decision.security { text += "tls       \(security)\n" }
            }
            text += "state     \(state(of: recipient, printer))\n"
            text += "next      \(next(for: recipient, printer))\n"
        }
        if !envelope.attempts.isEmpty { text += "\n" }
        if envelope.attempts.count == Envelope.attemptLimit {
            text += "          of more attempts than these the first and the latest are kept\n"
        }
        for attempt in envelope.attempts {
            text += "attempt   \(attempt.time.rfc3339) \(printer.printable(attempt.destination)): "
            text += "\(counts(of: attempt))\n          \(printer.describe(attempt.status))\n"
            let security = attempt.status.security
            if !security.isEmpty { text += "          \(printer.printable(security))\n" }
        }
        return Array(text.utf8)
    }

    private var client: String {
        let client = envelope.client
        guard let address = client.address else { return "this server itself" }
        var words = "\(address) (\(String(decoding: client.heloName, as: UTF8.self)))"
        if !client.protocolName.isEmpty { words += " by \(client.protocolName)" }
        if let user = client.user { words += ", logged in as \(user)" }
        return words
    }

    /// What the sender has asked for.
    private var wishes: String {
        var wishes: [String] = []
        switch envelope.parameters.returnContent {
        case .full: wishes.append("RET=FULL")
        case .headers: wishes.append("RET=HDRS")
        case nil: break
        }
        switch envelope.transportDemand {
        case .tls: wishes.append("REQUIRETLS")
        case .delivery: wishes.append("TLS-Required: No")
        case .none: break
        }
        if envelope.parameters.smtputf8 { wishes.append("SMTPUTF8") }
        return wishes.joined(separator: ", ")
    }

    private func decision(for recipient: QueuedRecipient) -> RouteDecision? {
        rules.map { $0.decision(for: recipient.path, demand: envelope.transportDemand) }
    }

    private func words(for decision: RouteDecision) -> String {
        rules?.words(for: decision.rule) ?? ""
    }

    private func state(of recipient: QueuedRecipient, _ printer: QueuePrinter) -> String {
        switch recipient.state {
        case .pending(let attempts, _, let reason):
            "pending, attempts \(attempts)"
                + (reason.map { ": \(printer.describe($0))" } ?? "")
        case .delivered(let status): "delivered: \(printer.describe(status))"
        case .failed(let status): "failed: \(printer.describe(status))"
        }
    }

    private func next(for recipient: QueuedRecipient, _ printer: QueuePrinter) -> String {
        switch recipient.state {
        case .delivered: return "nothing"
        case .failed: return nextForFailed(recipient)
        case .pending: break
        }
        guard let rules, let expiry else { return "nothing: nothing is delivered in dev mode" }
        if envelope.isHeld {
            return "nothing until it is released (elemta queue release \(envelope.id))"
        }
        if let obstacle = sight.obstacle(to: recipient, of: envelope) {
            let when = obstacle.nextProbe.map { "at \($0.rfc3339)" } ?? "now"
            return "waits, as its destination can't be reached: "
                + "\(printer.describe(obstacle.reason)); one message is sent to find out \(when), "
                + "and all follow when it is back; given up at \(expiry.rfc3339)"
        }
        let due = nextAttempt(of: recipient)
        guard let when = due.when else { return "attempt \(due.number), now" }
        return "attempt \(due.number) of at most \(rules.retry.maximumAttempts) "
            + "at \(when.rfc3339); given up at \(expiry.rfc3339)"
    }

    private func nextForFailed(_ recipient: QueuedRecipient) -> String {
        let isTold =
            envelope.reversePath != .null
            && (recipient.notify.isEmpty || recipient.notify.contains(.failure))
        let report = isTold ? "the sender has been told" : "nobody is told"
        guard let rules else { return report }
        let last = envelope.attempts.last?.time ?? envelope.arrival
        return "\(report); kept until \((last + rules.failedRetention).rfc3339)"
    }

    /// The number of the next attempt, and when it is; nil: now.
    private func nextAttempt(of recipient: QueuedRecipient) -> (number: UInt32, when: UnixTime?) {
        guard case .pending(let attempts, let next, _) = recipient.state else { return (0, nil) }
        return (attempts + 1, next.flatMap { $0 > sight.now ? $0 : nil })
    }

    private func counts(of attempt: DeliveryAttempt) -> String {
        let counts = [
            (attempt.delivered, "delivered"), (attempt.deferred, "deferred"),
            (attempt.failed, "failed"),
        ]
        return counts.filter { $0.0 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    }

    // MARK: - For programs

    func object(_ printer: QueuePrinter) -> JSONObject {
        var object = printer.object(envelope)
        object.add("state", envelope.state(sight).rawValue)
        object.add("user", envelope.client.user)
        object.add("expires", expiry?.rfc3339)
        object.add("story", envelope.recipients.map { story(of: $0, printer) })
        return object
    }

    private func story(of recipient: QueuedRecipient, _ printer: QueuePrinter) -> JSONObject {
        var object = JSONObject()
        object.add("to", "\(recipient.path)")
        let decision = decision(for: recipient)
        object.add("rule", decision?.rule.key)
        object.add("destination", decision?.destination.name)
        object.add("tls", decision?.security)
        let obstacle = sight.obstacle(to: recipient, of: envelope)
        object.add("obstacle", obstacle.map { printer.describe($0.reason) })
        let due = obstacle.map(\.nextProbe) ?? nextAttempt(of: recipient).when
        object.add("next_attempt", due?.rfc3339)
        object.add("next", next(for: recipient, printer))
        return object
    }
}
