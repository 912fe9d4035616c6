import ElemtaSMTP

/// A server that answers each command, and each content, with the next reply of a list.
///
/// It speaks only when it was spoken to, unless a reply holds more than one.
struct ClientDialogue {
    static let offersAll = """
        250-mx.example.com
        250-PIPELINING
        250-SIZE 1000000
        250-8BITMIME
        250-SMTPUTF8
        250-DSN
        250-CHUNKING
        250 ENHANCEDSTATUSCODES
        """
    static let offersPipelining = "250-mx.example.com\n250 PIPELINING"
    static let offersNothing = "250 mx.example.com"

    /// Instead of a reply: the connection is lost here.
    static let lost = "LOST"
    /// Instead of a reply: nothing comes until time is up.
    static let silence = "SILENCE"
    /// Between the reply to STARTTLS and the one to the next EHLO: how the handshake ends.
    static let authenticated = "HANDSHAKE authenticated"
    static let verified = "HANDSHAKE verified"
    static let unverified = "HANDSHAKE unverified"
    static let failed = "HANDSHAKE failed"

    var replies: [String]
    var transactions: [ClientTransaction]
    var mailProtocol = ClientProtocol.smtp
    var tls = ClientTLSPolicy.off
    var login: ClientLogin?

    struct Record: Equatable {
        /// What the client sent; content stands as `{content}`, with `{data}` or `{chunk}` before it,
        /// and the handshake as `{handshake}`.
        var sent = ""
        /// One line for each transaction, or one for the connection that came to nothing.
        var outcomes: [String] = []
    }

    /// Plays the dialogue; the server's octets arrive in pieces of at most `piece`, and cut at `cut`.
    func play(piece: Int = .max, cut: Int? = nil) -> Record {
        var player = Player(dialogue: self, piece: piece, cut: cut)
        player.run()
        return player.record
    }

    /// All octets of the server, which is what `cut` counts in.
    var serverOctetCount: Int { replies.reduce(0) { $0 + Player.wire($1).count } }
}

private struct Player: ~Copyable {
    var session: ClientSession
    var record = ClientDialogue.Record()
    var replies: [String]
    var transactions: [ClientTransaction]
    let piece: Int
    let cut: Int?
    var arrived: [UInt8] = []
    var delivered = 0
    var interruption: ClientSession.Interruption?
    var isOver = false

    init(dialogue: ClientDialogue, piece: Int, cut: Int?) {
        session = ClientSession(
            heloName: Array("client.example.com".utf8), speaking: dialogue.mailProtocol,
            tls: dialogue.tls, login: dialogue.login)
        replies = dialogue.replies.reversed()
        transactions = dialogue.transactions.reversed()
        self.piece = piece
        self.cut = cut
    }

    static func wire(_ reply: String) -> [UInt8] {
        Array(reply.split(separator: "\n").map { $0 + "\r\n" }.joined().utf8)
    }

    mutating func run() {
        answer()
        while !isOver {
            guard !arrived.isEmpty else {
                perform(session.interrupt(interruption ?? .timedOut))
                continue
            }
            var count = min(piece, arrived.count)
            if let cut, delivered < cut { count = min(count, cut - delivered) }
            feed(Array(arrived.prefix(count)))
        }
    }

    private mutating func feed(_ octets: [UInt8]) {
        delivered += octets.count
        arrived.removeFirst(octets.count)
        var rest = octets
        while !rest.isEmpty, !isOver {
            let (consumed, action) = session.next(in: rest.span)
            rest.removeFirst(consumed)
            perform(action)
        }
    }

    private mutating func answer() {
        guard let reply = replies.popLast() else { return }
        switch reply {
        case ClientDialogue.lost: interruption = .connectionLost
        case ClientDialogue.silence: interruption = .timedOut
        default: arrived += Self.wire(reply)
        }
    }

    private mutating func perform(_ action: ClientAction) {
        switch action {
        case .none: return
        case .send(let octets):
            let text = String(decoding: octets, as: UTF8.self)
            record.sent += text.replacing("\r\n", with: "\n")
            for _ in text.split(separator: "\r\n") where interruption == nil { answer() }
        case .ready: begin()
        case .startTLS:
            record.sent += "{handshake}\n"
            shakeHands()
        case .sendContent(let transfer):
            switch transfer {
            case .data: record.sent += "{data}{content}\n"
            case .chunk(let command):
                let text = String(decoding: command, as: UTF8.self)
                record.sent += text.replacing("\r\n", with: "\n") + "{content}\n"
            }
            session.contentSent()
            answer()
        case .ended(let result):
            record.outcomes.append(describe(result))
            if session.isReady { begin() } else { isOver = true }
        case .close(let failure):
            if let failure { record.outcomes.append("closed: \(describe(failure))") }
            isOver = true
        }
    }

    private mutating func shakeHands() {
        let outcome: HandshakeOutcome
        switch replies.last {
        case ClientDialogue.authenticated: outcome = .established(.authenticated)
        case ClientDialogue.verified: outcome = .established(.verified)
        case ClientDialogue.unverified: outcome = .established(.unverified)
        case ClientDialogue.failed: outcome = .failed("no shared cipher")
        default: return answer()
        }
        replies.removeLast()
        perform(session.handshakeEnded(outcome))
    }

    private mutating func begin() {
        if let transaction = transactions.popLast() {
            perform(session.begin(transaction))
        } else {
            perform(session.quit())
        }
    }

    private func describe(_ result: TransactionResult) -> String {
        var words = result.verdicts.map { verdict in
            switch verdict {
            case .accepted(let reply): "accepted \(reply)"
            case .deferred(let failure): "deferred \(describe(failure))"
            case .failed(let failure): "failed \(describe(failure))"
            }
        }
        if result.mayBeDuplicated { words.append("may be duplicated") }
        if result.isUntried { words.append("untried") }
        return words.joined(separator: "; ")
    }

    private func describe(_ failure: ClientFailure) -> String {
        switch failure {
        case .reply(let reply, let stage): "\(reply) at \(stage)"
        case .protocolError(let error, let stage): "\(error) at \(stage)"
        case .timedOut(let stage): "timed out at \(stage)"
        case .connectionLost(let stage): "lost at \(stage)"
        case .abandoned(let reason): "abandoned: \(reason)"
        case .unsendable(let obstacle): "\(obstacle)"
        case .tls(let failure, let policy):
            "TLS: \(describe(failure)) (\(policy)\(failure.allowsClear ? ", clear" : ""))"
        case .login(.refused(let reply)): "login refused: \(reply)"
        case .login(let failure): "login: \(failure)"
        }
    }
}

extension Player {
    private func describe(_ failure: TLSFailure) -> String {
        switch failure {
        case .refused(let reply): "refused \(reply)"
        case .interrupted(let cause): describe(cause)
        case .handshake(let reason): reason
        case .notOffered, .octetsInClear, .unverified, .requireTLSNotOffered: "\(failure)"
        }
    }
}

extension ClientTransaction {
    /// A message of `octets` octets from sender@example.org to the addresses.
    static func message(
        to addresses: [String] = ["a@example.com"], from sender: String = "sender@example.org",
        octets: UInt64 = 100, traits: ContentSummary.Traits = [],
        parameters: MailParameters = MailParameters(), notify: NotifyConditions = [],
        original: OriginalRecipient? = nil
    ) -> ClientTransaction {
        ClientTransaction(
            reversePath: Mailbox(sender).map { .mailbox($0) } ?? .null, parameters: parameters,
            recipients: addresses.map { address in
                AcceptedRecipient(
                    path: Mailbox(address).map { .mailbox($0) } ?? .postmaster, notify: notify,
                    originalRecipient: original)
            },
            content: ContentSummary(octetCount: octets, traits: traits))
    }
}
