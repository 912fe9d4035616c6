import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Testing

@testable import ElemtaDelivery

@Suite("Probing recipients") struct ProberTests {
    private typealias Script = ScriptedServer.Script

    /// Takes everything that the closure has no other answer for.
    private static func script(
        _ other: @escaping @Sendable (ScriptedServer.Moment) -> ScriptedServer.Reaction?
    ) -> Script {
        { moment in
            if let reaction = other(moment) { return reaction }
            switch moment.verb {
            case "": return .say("220 next.example ready\r\n")
            case "EHLO": return .say("250-next.example\r\n250 PIPELINING\r\n")
            case "LHLO": return .say("250-next.example\r\n250 PIPELINING\r\n")
            case "QUIT": return .sayAndClose("221 2.0.0 bye\r\n")
            default: return .say("250 2.0.0 fine\r\n")
            }
        }
    }

    private static func prober(
        _ server: ScriptedServer, limits: RecipientProber.Limits = .init(),
        lmtp: Bool = false, listeningAddresses: [SocketAddress] = []
    ) throws -> RecipientProber {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.dnsServers = ["127.0.0.1:1"]
        settings.listeningAddresses = listeningAddresses
        let next = RemoteServer(.address(IPAddress(v4: 0x7F00_0001)), port: server.address.port)
        settings.routes = [
            DeliveryRoute(.exact(try #require(Domain("gone.example"))), .hop(.discard)),
            DeliveryRoute(.all, .hop(lmtp ? .lmtp(next) : .smtp(next))),
        ]
        return try RecipientProber(settings, limits: limits)
    }

    private static func ask(
        _ prober: RecipientProber, _ address: String,
        report: @escaping @Sendable (RecipientProber.Trouble) -> Void = { _ in }
    ) throws -> ProbeAnswer {
        let answers = Inbox<ProbeAnswer>()
        prober.ask(
            try #require(Mailbox(address), "\(address)"), report: report,
            answer: { answers.post($0) })
        return try #require(answers.takeOne())
    }

    private static func isUnavailable(_ answer: ProbeAnswer) -> Bool {
        if case .unavailable = answer { true } else { false }
    }

    @Test(
        "asks with MAIL FROM:<>, RCPT and QUIT, and remembers the answer", arguments: [false, true])
    func dialogue(lmtp: Bool) throws {
        let server = try ScriptedServer(
            Self.script { $0.line.contains("<nobody@") ? .say("550 5.1.1 who?\r\n") : nil })
        defer { withExtendedLifetime(server) {} }
        let prober = try Self.prober(server, lmtp: lmtp)
        defer { prober.stop() }
        for _ in 0..<2 {
            #expect(try Self.ask(prober, "alice@example.com") == .exists)
            #expect(try Self.ask(prober, "nobody@example.com") == .unknown)
        }
        #expect(try Self.ask(prober, "anybody@gone.example") == .exists)
        let dialogues = server.record.dialogues
        #expect(dialogues.count == 2)
        for (lines, name) in zip(dialogues, ["alice", "nobody"]) {
            let hello = lmtp ? "LHLO" : "EHLO"
            #expect(
                lines.prefix(3) == [
                    "\(hello) mail.example.org", "MAIL FROM:<>", "RCPT TO:<\(name)@example.com>",
                ])
            #expect(!lines.contains("DATA"))
        }
        #expect(server.record.messages.isEmpty)
    }

    /// What a next hop says where; what that means.
    struct Case: Sendable, CustomTestStringConvertible {
        let verb: String
        let reaction: ScriptedServer.Reaction
        let answer: String

        var testDescription: String { "\(verb.isEmpty ? "greeting" : verb): \(reaction)" }
    }

    static let cases = [
        Case(verb: "", reaction: .say("554 5.7.1 go away\r\n"), answer: "unavailable"),
        Case(verb: "", reaction: .silence, answer: "unavailable"),
        Case(verb: "", reaction: .close, answer: "unavailable"),
        Case(verb: "EHLO", reaction: .say("nonsense\r\n"), answer: "unavailable"),
        Case(verb: "MAIL", reaction: .say("550 5.7.1 no reports\r\n"), answer: "unavailable"),
        Case(verb: "MAIL", reaction: .say("451 4.3.0 later\r\n"), answer: "unavailable"),
        Case(verb: "RCPT", reaction: .say("450 4.2.0 later\r\n"), answer: "unavailable"),
        Case(verb: "RCPT", reaction: .say("552 5.2.2 full\r\n"), answer: "unavailable"),
        Case(verb: "RCPT", reaction: .sayAndClose("421 4.3.2 bye\r\n"), answer: "unavailable"),
        Case(verb: "RCPT", reaction: .silence, answer: "unavailable"),
        Case(verb: "RCPT", reaction: .close, answer: "unavailable"),
        Case(verb: "RCPT", reaction: .say("354 go on\r\n"), answer: "unavailable"),
        Case(verb: "RCPT", reaction: .say("553 5.1.3 what?\r\n"), answer: "unknown"),
        Case(verb: "RCPT", reaction: .say("554 5.1.1 who?\r\n"), answer: "unknown"),
        Case(verb: "RCPT", reaction: .say("550 who?\r\n"), answer: "unknown"),
        Case(verb: "RCPT", reaction: .say("551 not here\r\n"), answer: "unknown"),
        Case(verb: "RCPT", reaction: .say("553 what?\r\n"), answer: "unknown"),
        Case(verb: "RCPT", reaction: .say("550 5.7.1 not you\r\n"), answer: "refused"),
        Case(verb: "RCPT", reaction: .say("550 5.2.1 closed\r\n"), answer: "refused"),
        Case(verb: "RCPT", reaction: .say("530 log in\r\n"), answer: "refused"),
        Case(verb: "RCPT", reaction: .say("554 no\r\n"), answer: "refused"),
        Case(verb: "RCPT", reaction: .say("251 2.1.5 elsewhere\r\n"), answer: "exists"),
        Case(verb: "QUIT", reaction: .silence, answer: "exists"),
    ]

    @Test("only the reply to RCPT is about the recipient", arguments: cases)
    func replies(_ expected: Case) throws {
        let server = try ScriptedServer(
            Self.script { $0.verb == expected.verb ? expected.reaction : nil })
        defer { withExtendedLifetime(server) {} }
        var limits = RecipientProber.Limits()
        limits.time = .seconds(2)
        let troubles = Inbox<String>()
        let prober = try Self.prober(server, limits: limits)
        defer { prober.stop() }
        let answer = try Self.ask(prober, "alice@example.com") { troubles.post($0.reason) }
        switch expected.answer {
        case "refused": #expect(.unavailable(try #require(troubles.takeOne())) == answer)
        case "exists": #expect(answer == .exists)
        case "unknown": #expect(answer == .unknown)
        default: #expect(Self.isUnavailable(answer), "\(answer)")
        }
    }

    @Test("who asks for the same at the same time shares a probe, and others are bounded")
    func bounds() throws {
        let server = try ScriptedServer(Self.script { $0.verb == "EHLO" ? .silence : nil })
        defer { withExtendedLifetime(server) {} }
        var limits = RecipientProber.Limits()
        limits.probesPerDestination = 2
        limits.askers = 6
        limits.time = .seconds(2)
        let prober = try Self.prober(server, limits: limits)
        defer { prober.stop() }
        let early = Inbox<ProbeAnswer>()
        let reports = Inbox<Int>()
        let late = Inbox<ProbeAnswer>()
        for (number, name) in ["a", "a", "b", "b", "b", "a"].enumerated() {
            prober.ask(
                try #require(Mailbox("\(name)@example.com")),
                report: { _ in reports.post(number) }, answer: { late.post($0) })
        }
        for name in ["c", "a"] {
            prober.ask(try #require(Mailbox("\(name)@example.com"))) { early.post($0) }
        }
        for _ in 0..<2 { #expect(Self.isUnavailable(try #require(early.takeOne()))) }
        #expect(late.count == 0)
        for _ in 0..<6 { #expect(Self.isUnavailable(try #require(late.takeOne()))) }
        // Who came first hears why, once.
        #expect(Set([reports.takeOne(), reports.takeOne()]) == [0, 2])
        #expect(reports.count == 0)
        #expect(server.record.dialogues.count == 2)
        // It is left alone for a while.
        #expect(Self.isUnavailable(try Self.ask(prober, "d@example.com")))
        #expect(server.record.dialogues.count == 2)
    }

    @Test("silence after RCPT is about that recipient, others are asked about")
    func tarpit() throws {
        let server = try ScriptedServer(
            Self.script { $0.line.contains("<slow@") ? .silence : nil })
        defer { withExtendedLifetime(server) {} }
        var limits = RecipientProber.Limits()
        limits.time = .seconds(2)
        limits.trouble = .seconds(600)
        let prober = try Self.prober(server, limits: limits)
        defer { prober.stop() }
        for _ in 0..<2 { #expect(Self.isUnavailable(try Self.ask(prober, "slow@example.com"))) }
        #expect(server.record.dialogues.count == 1)
        #expect(try Self.ask(prober, "alice@example.com") == .exists)
    }

    @Test("what leads back to this server isn't asked")
    func ourselves() throws {
        let server = try ScriptedServer(Self.script { _ in nil })
        defer { withExtendedLifetime(server) {} }
        let own = server.address
        let troubles = Inbox<String>()
        let prober = try Self.prober(server, listeningAddresses: [own])
        defer { prober.stop() }
        let reason = "The route leads back to this server"
        let answer = try Self.ask(prober, "alice@example.com") {
            troubles.post("\($0.destination) \($0.reason)")
        }
        #expect(answer == .unavailable(reason))
        #expect(troubles.takeOne() == "smtp:[127.0.0.1]:\(own.port) \(reason)")
        #expect(server.record.dialogues.isEmpty)
    }

    @Test("answers are forgotten when their time is over, or for want of room")
    func memory() {
        let now = MonotonicTime(nanoseconds: 1_000_000_000)
        var answers = RememberedAnswers<Int>(limit: 3)
        answers.remember(.exists, for: 1, until: now + .seconds(2))
        #expect(answers.answer(for: 1, at: now + .seconds(1)) == .exists)
        #expect(answers.answer(for: 1, at: now + .seconds(2)) == nil)
        #expect(answers.answer(for: 2, at: now) == nil)
        for key in 2..<100 { answers.remember(.unknown, for: key, until: now + .seconds(2)) }
        #expect(answers.count == 3)
        #expect(answers.answer(for: 99, at: now) == .unknown)
        answers.remember(.exists, for: 99, until: now + .seconds(2))
        #expect(answers.answer(for: 99, at: now) == .exists)
    }
}
