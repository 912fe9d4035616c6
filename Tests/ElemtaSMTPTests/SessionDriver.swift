import ElemtaSMTP

/// What a session has said and done, whatever the cut of its input.
struct Transcript: Equatable {
    /// Every reply in its wire form, one after the other.
    var replies: [UInt8] = []
    var messages: [AcceptedMessage] = []
    var isClosed = false
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

    /// Domains say what becomes of an address, so that a dialogue needs no more than its text.
    static func refusal(of domain: Domain?) -> Reply? {
        switch domain?.description {
        case "denied.example": .relayingDenied
        case "busy.example": Reply(450, 2, 1, "Mailbox busy")
        case "closing.example": Reply(421, 3, 2, "Go away")
        default: nil
        }
    }
}

/// Drives a session from memory as the server does from a socket.
struct SessionDriver: ~Copyable {
    private var session: ServerSession
    private let policy: Policy
    /// The input is shown up to multiples of this, like the segments of a buffer.
    private let segmentLength: Int

    private var input: [UInt8] = []
    private var start = 0
    private var content: [UInt8] = []
    private(set) var transcript = Transcript()
    /// Contracts that the session has broken.
    private(set) var violations: [String] = []

    init(
        parameters: ServerParameters, policy: Policy = Policy(), segmentLength: Int = .max
    ) {
        let session = ServerSession(
            parameters: parameters,
            client: ClientIdentity(address: IPAddress(v4: 0xC000_0201)))
        self.init(session, policy: policy, segmentLength: segmentLength)
        send(self.session.greeting())
    }

    private init(_ session: consuming ServerSession, policy: Policy, segmentLength: Int) {
        self.session = session
        self.policy = policy
        self.segmentLength = segmentLength
    }

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
            case .ask(let question): next = answer(question)
            case .abandonContent: content = []
            case .refuseContent(let reply):
                content = []
                send(reply)
                if session.isInTransaction { violations.append("refused, but not over") }
            }
        }
    }

    private mutating func answer(_ question: Question) -> Action {
        if session.expectation != .answer { violations.append("asked, but not waiting") }
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
            if policy.commit == nil {
                transcript.messages.append(
                    AcceptedMessage(transaction: transaction, summary: summary, content: content))
            }
            content = []
            return session.resume(with: verdict(policy.commit))
        }
    }

    private func verdict(_ refusal: Reply?) -> Verdict { refusal.map { .refuse($0) } ?? .accept }

    private mutating func send(_ reply: Reply) {
        if !Self.isWellFormed(reply) { violations.append("malformed reply: \(reply)") }
        transcript.replies.append(contentsOf: reply.octets)
    }

    mutating func timeOut() { perform(session.timedOut()) }

    mutating func shutDown() { if let action = session.shuttingDown() { perform(action) } }

    mutating func failContent(with reply: Reply) {
        content = []
        session.failContent(with: reply)
    }

    var expectation: Expectation { session.expectation }
    var isIdle: Bool { session.isIdle }
    var isInTransaction: Bool { session.isInTransaction }
    var unconsumed: Int { input.count - start }

    /// `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF`,
    /// RFC 5321 4.2, in lines of at most 512 octets.
    static func isWellFormed(_ reply: Reply) -> Bool {
        var lines = reply.octets.split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        guard lines.popLast()?.isEmpty == true, !lines.isEmpty else { return false }
        let code = Array("\(reply.code)".utf8)
        for (index, line) in lines.enumerated() {
            let separator = UInt8(ascii: index == lines.count - 1 ? " " : "-")
            guard line.count < 512, line.last == UInt8(ascii: "\r"), line.starts(with: code),
                line.dropFirst(3).first == separator,
                line.dropLast().allSatisfy({ (32...126).contains($0) })
            else { return false }
        }
        return (200...599).contains(reply.code)
    }
}
