import ElemtaSMTP

/// What a session has said and done, whatever the cut of its input.
struct Transcript: Equatable {
    /// Every reply in its wire form, one after the other.
    var replies: [UInt8] = []
    var messages: [AcceptedMessage] = []
    var isClosed = false
    /// Seconds that answers were held back, in their order.
    var delays: [Int] = []
    /// Who logged in with what can't be right; nil: a name that can't be one.
    var impossibleLogins: [String?] = []
}

/// A message that was answered 250.
struct AcceptedMessage: Equatable {
    var transaction: MailTransaction
    var summary: ContentSummary
    var content: [UInt8]
}

/// How the driver answers a session's questions.
struct Policy {
    var content: Reply?
    var commit: Reply?
    var handshake = Handshake.instant

    /// What a driver does at STARTTLS.
    enum Handshake {
        /// The client's octets from there on came inside TLS.
        case instant
        /// Octets that are already there came in clear text.
        case checked
        /// There is no certificate.
        case unavailable
    }

    /// Domains say what becomes of an address, so that a dialogue needs no more than its text.
    static func refusal(of domain: Domain?) -> Reply? {
        switch domain?.description {
        case "denied.example": .relayingDenied
        case "unknown.example": .unknownRecipient
        case "down.example": .recipientUnavailable
        case "busy.example": Reply(450, 2, 1, "Mailbox busy")
        case "closing.example": Reply(421, 3, 2, "Go away")
        default: nil
        }
    }

    /// So do names say what becomes of a login. The password is `secret`.
    static func outcome(of credentials: SASLCredentials) -> AuthenticationOutcome {
        guard credentials.user != "down" else { return .unavailable }
        let isRight = credentials.withPassword { password in
            var octets: [UInt8] = []
            for index in password.indices { octets.append(password[index]) }
            return octets == Array("secret".utf8)
        }
        switch credentials.user {
        case _ where !isRight: return .rejected(delay: credentials.user == "guessed" ? 4 : 0)
        case "alice", "al ice": return .accepted(AuthenticatedUser(name: credentials.user))
        case "guessed": return .accepted(AuthenticatedUser(name: "guessed"), delay: 2)
        case "bob":
            let user = AuthenticatedUser(name: "bob") { path in
                path.mailbox.map { "\($0)" == "bob@example.com" } ?? true
            }
            return .accepted(user)
        default: return .rejected()
        }
    }
}

/// Drives a session from memory as the server does from a socket.
struct SessionDriver: ~Copyable {
    private var session: ServerSession
    private var policy: Policy
    /// The input is shown up to multiples of this, like the segments of a buffer.
    private var segmentLength: Int

    private var input: [UInt8] = []
    private var start = 0
    private var content: [UInt8] = []
    private var owed = Owed.nothing
    private var answersLate = false
    private(set) var transcript = Transcript()
    /// Contracts that the session has broken.
    private(set) var violations: [String] = []

    /// What the session waits for.
    private enum Owed {
        case nothing
        case answer(Question)
        case endOfDelay
    }

    init(
        parameters: ServerParameters, policy: Policy = Policy(), segmentLength: Int = .max,
        mayUseXCLIENT: Bool = false
    ) {
        var session = ServerSession(
            parameters: parameters,
            client: ClientIdentity(
                address: IPAddress(v4: 0xC000_0201), port: 40_000, mayUseXCLIENT: mayUseXCLIENT))
        if case .implicit = parameters.offer.tls { session.tlsEstablished(Self.tls) }
        let greeting = session.greeting()
        self.init(session, policy: policy, segmentLength: segmentLength)
        send(greeting)
    }

    private init(_ session: consuming ServerSession, policy: Policy, segmentLength: Int) {
        self.session = session
        self.policy = policy
        self.segmentLength = segmentLength
    }

    static let tls = TLSSummary(protocolName: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384")

    /// Octets arrive.
    mutating func feed(_ octets: some Sequence<UInt8>) {
        input.removeFirst(start)
        start = 0
        input.append(contentsOf: octets)
        var idleSteps = 0
        while !transcript.isClosed {
            let available = input.count - start
            let segment =
                segmentLength == .max ? available : segmentLength - start % segmentLength
            let octets = input
            var shown = min(available, segment)
            var step = session.next(in: octets.span.extracting(start..<(start + shown)))
            if case .needMore = step, shown < available {
                shown = min(available, ServerSession.maximumContiguous)
                step = session.next(in: octets.span.extracting(start..<(start + shown)))
                if case .needMore = step, shown == ServerSession.maximumContiguous {
                    violations.append("no progress with \(shown) octets")
                    return
                }
            }
            guard let consumed = take(step, of: shown) else { return }
            idleSteps = consumed == 0 ? idleSteps + 1 : 0
            if consumed > shown || idleSteps > 3 {
                violations.append("consumed \(consumed) of \(shown), \(idleSteps) idle steps")
                return
            }
        }
    }

    /// Does what a step says and returns how many octets it consumed; nil when it waits.
    private mutating func take(_ step: Step, of shown: Int) -> Int? {
        switch step {
        case .needMore:
            return nil
        case .drop(let count):
            start += count
            return count
        case .keep(let count):
            content.append(contentsOf: input[start..<(start + min(count, shown))])
            start += count
            return count
        case .keepLineEnd(let count):
            content.append(contentsOf: "\r\n".utf8)
            start += count
            return count
        case .act(let action, let count):
            start += count
            perform(action)
            return count
        }
    }

    private mutating func perform(_ action: Action) {
        var next: Action? = action
        while let current = next {
            next = nil
            switch current {
            case .none: break
            case .reply(let reply): send(reply)
            case .close(let reply):
                if let reply { send(reply) }
                transcript.isClosed = true
                if session.expectation != .closed { violations.append("closed, but not closed") }
            case .delay(let seconds):
                if session.expectation != .answer { violations.append("delayed, not waiting") }
                transcript.delays.append(seconds)
                owed = .endOfDelay
            case .startTLS(let reply): next = startTLS(reply)
            case .debug(let view): send(session.debugReply(view, sessionID: "00d88aa8-90bf"))
            case .ask(let question):
                if session.expectation != .answer { violations.append("asked, but not waiting") }
                owed = .answer(question)
            case .abandonContent: content = []
            case .refuseContent(let reply):
                content = []
                send(reply)
                if session.isInTransaction { violations.append("refused, but not over") }
            }
            if next == nil, !answersLate { next = giveWhatIsOwed() }
        }
    }

    private mutating func giveWhatIsOwed() -> Action? {
        let given = owed
        owed = .nothing
        switch given {
        case .nothing: return nil
        case .answer(let question): return answer(question)
        case .endOfDelay: return session.delayEnded()
        }
    }

    /// From now on questions stay open, and delays last, until `answerLate`.
    mutating func answerFromNowOnLate() { answersLate = true }

    /// Gives what is owed; what comes of it isn't late.
    mutating func answerLate() {
        answersLate = false
        if let action = giveWhatIsOwed() { perform(action) }
        feed([])
    }

    private mutating func startTLS(_ reply: Reply) -> Action? {
        if session.expectation != .handshake { violations.append("no handshake expected") }
        switch policy.handshake {
        case .checked where unconsumed > 0: return session.refuseTLS(.octetsWaiting)
        case .unavailable: return session.refuseTLS(.unavailable)
        case .instant, .checked:
            send(reply)
            session.tlsEstablished(Self.tls)
            if session.isExtended || session.user != nil || session.isInTransaction {
                violations.append("something from before the handshake is left")
            }
            return nil
        }
    }

    private mutating func answer(_ question: Question) -> Action {
        switch question {
        case .sender(let path, _):
            return session.resume(with: verdict(Policy.refusal(of: path.mailbox?.domain)))
        case .recipient(let path):
            return session.resume(with: verdict(Policy.refusal(of: path.mailbox?.domain)))
        case .content:
            if !content.isEmpty { violations.append("content before its question") }
            return session.resume(with: verdict(policy.content))
        case .commit(let transaction, let summary):
            if UInt64(content.count) != summary.octetCount {
                violations.append("\(content.count) octets, \(summary.octetCount) counted")
            }
            if !hasWellFormedTrace(transaction) { violations.append("malformed trace field") }
            if policy.commit == nil {
                transcript.messages.append(
                    AcceptedMessage(transaction: transaction, summary: summary, content: content))
            }
            content = []
            return session.resume(with: verdict(policy.commit))
        case .authenticate(let credentials):
            if parametersNeedTLS, session.tls == nil { violations.append("a login in clear text") }
            return session.resume(with: Policy.outcome(of: credentials))
        case .impossibleLogin(let user):
            transcript.impossibleLogins.append(user)
            return session.resume(with: AuthenticationOutcome.rejected())
        case .client(let client, let login):
            if client.address == IPAddress(v4: 0xC000_0263) {
                return session.resume(with: .refuse(.tooManyConnectionsFromAddress))
            }
            let user = login.map { AuthenticatedUser(name: $0) }
            return session.resume(with: .admit(user, bareNewlineExempt: false))
        }
    }

    /// Lines of printable octets or UTF-8, folded where they are, and none beyond RFC 5322 2.1.1.
    private func hasWellFormedTrace(_ transaction: MailTransaction) -> Bool {
        let field = ReceivedField.octets(
            heloName: session.heloName, address: session.client.address,
            hostname: session.parameters.hostname,
            protocolName: session.protocolName(for: transaction), tls: session.tls,
            id: Array("id".utf8),
            recipient: transaction.recipients.first?.path, time: UnixTime(seconds: 0))
        var start = 0
        while let lineFeed = field[start...].firstIndex(of: 10) {
            let isFolded = field[start] == 9
            guard isFolded != (start == 0), (2...999).contains(lineFeed - start),
                field[lineFeed - 1] == 13,
                field[(isFolded ? start + 1 : start)..<(lineFeed - 1)]
                    .allSatisfy({ $0 > 31 && $0 != 127 })
            else { return false }
            start = lineFeed + 1
        }
        return start > 0 && start == field.count
    }

    private var parametersNeedTLS: Bool { session.parameters.offer.authenticationNeedsTLS }

    private func verdict(_ refusal: Reply?) -> Verdict { refusal.map { .refuse($0) } ?? .accept }

    private mutating func send(_ reply: Reply) {
        if !Self.isWellFormed(reply) { violations.append("malformed reply: \(reply)") }
        transcript.replies.append(contentsOf: reply.octets)
    }

    mutating func timeOut() { perform(session.timedOut()) }

    mutating func outlast() { perform(session.lastedTooLong()) }

    mutating func speakFirst() { perform(session.spokeFirst()) }

    mutating func shutDown() { if let action = session.shuttingDown() { perform(action) } }

    mutating func cutOff() { perform(session.cutOff()) }

    mutating func failContent(with reply: Reply) {
        content = []
        session.failContent(with: reply)
    }

    var client: ClientIdentity { session.client }
    var userName: String? { session.user?.name }
    var heloName: [UInt8] { session.heloName }
    var isExtended: Bool { session.isExtended }
    func protocolName(for transaction: MailTransaction) -> String {
        session.protocolName(for: transaction)
    }
    var expectation: Expectation { session.expectation }
    var isIdle: Bool { session.isIdle }
    var isInTransaction: Bool { session.isInTransaction }
    var unconsumed: Int { input.count - start }

    /// `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF`,
    /// RFC 5321 4.2, in lines of at most 512 octets.
    static func isWellFormed(_ reply: Reply) -> Bool {
        guard (200...599).contains(reply.code) else { return false }
        let octets = reply.octets
        let code = [UInt8(reply.code / 100), UInt8(reply.code / 10 % 10), UInt8(reply.code % 10)]
        var start = 0
        while let lineFeed = octets[start...].firstIndex(of: 10) {
            let isLast = lineFeed == octets.count - 1
            guard (5...511).contains(lineFeed - start), octets[lineFeed - 1] == 13,
                octets[start + 3] == UInt8(ascii: isLast ? " " : "-"),
                octets[start..<(start + 3)].elementsEqual(code.lazy.map { $0 + 48 }),
                octets[start..<(lineFeed - 1)].allSatisfy({ (32...126).contains($0) })
            else { return false }
            start = lineFeed + 1
        }
        return start > 0 && start == octets.count
    }
}
