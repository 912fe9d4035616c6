/// XDEBUG: what a session knows about itself, for whoever develops against it (dev mode only).
extension ServerSession {
    mutating func xdebug(_ line: Span<UInt8>, _ end: Int) -> Action {
        guard parameters.offer.isDevelopment else { return refuse(.notImplemented) }
        guard end < line.count else { return .debug(.everything) }
        let word = line.extracting((end + 1)..<line.count)
        if word.isKeyword("STATE") { return .debug(.state) }
        if word.isKeyword("CONNECTION") { return .debug(.connection) }
        if word.isKeyword("CONTEXT") { return .debug(.context) }
        if word.isKeyword("HELP") { return .reply(.debugHelp) }
        return refuse(.xdebugSyntax)
    }

    /// The reply to XDEBUG. `sessionID` is what the driver calls the session in its log.
    public func debugReply(_ view: DebugView, sessionID: String) -> Reply {
        let connection = [
            "Session ID: \(sessionID)", "Client IP: \(client)", "Hostname: \(parameters.hostname)",
        ]
        let context = Self.line("Context:", debugContext)
        switch view {
        case .everything:
            return .debug(["Debug information:"] + connection + debugState + [context])
        case .state: return .debug(debugState)
        case .connection: return .debug(connection)
        case .context: return .debug([context])
        }
    }

    private var debugState: [String] {
        let (name, transaction): (String, MailTransaction?) =
            switch phase {
            case .transaction(let transaction):
                (transaction.recipients.isEmpty ? "MAIL" : "RCPT", transaction)
            case .data(let transaction, _), .chunks(let transaction, _),
                .chunk(let transaction, _, _):
                ("DATA", transaction)
            case .authenticating: ("AUTH", nil)
            case .idle, .refusedChunks, .skippedChunk, .delayed, .handshake, .asking, .closed:
                ("INIT", nil)
            }
        return [
            "State: \(name)",
            Self.line("Mail From:", transaction?.reversePath.description ?? ""),
            Self.line(
                "Rcpt To:",
                ForwardPath.abridged(
                    transaction?.recipients.map(\.path) ?? [], octetLimit: Self.debugTextLength)),
        ]
    }

    /// What is left of a reply line beside `250-Rcpt To: ` and CRLF, octets.
    private static var debugTextLength: Int { Reply.maximumLineLength - 15 }

    /// `key=value` pairs; those that say nothing are left out.
    private var debugContext: String {
        var context: [String] = []
        func add(_ key: String, _ value: String?) {
            if let value, !value.isEmpty { context.append("\(key)=\(Self.word(value))") }
        }
        add("helo", String(decoding: heloName, as: UTF8.self))
        add("tls", tls?.protocolName)
        add("cipher", tls?.cipher)
        add("auth", user?.name)
        add("extensions", extensionsInUse.joined(separator: ","))
        if messageCount > 0 { add("messages", "\(messageCount)") }
        if errorCount > 0 { add("errors", "\(errorCount)") }
        return context.joined(separator: " ")
    }

    private var extensionsInUse: [String] {
        let transaction: MailTransaction
        var used: [String] = []
        switch phase {
        case .transaction(let running), .data(let running, _): transaction = running
        case .chunks(let running, _), .chunk(let running, _, _):
            transaction = running
            used.append("CHUNKING")
        case .idle, .refusedChunks, .skippedChunk, .authenticating, .delayed, .handshake, .asking,
            .closed:
            return []
        }
        let said = transaction.parameters
        let usesDSN =
            said.returnContent != nil || said.envelopeID != nil
            || transaction.recipients.contains { !$0.notify.isEmpty || $0.originalRecipient != nil }
        if said.declaredSize != nil { used.append("SIZE") }
        if said.bodyType != .sevenBit { used.append("8BITMIME") }
        if said.smtputf8 { used.append("SMTPUTF8") }
        if usesDSN { used.append("DSN") }
        if said.requireTLS { used.append("REQUIRETLS") }
        return used
    }

    /// A user's name may hold spaces, which part the pairs.
    private static func word(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 == .space ? .underscore : $0 }, as: UTF8.self)
    }

    private static func line(_ label: String, _ text: String) -> String {
        text.isEmpty ? label : "\(label) \(text)"
    }
}
