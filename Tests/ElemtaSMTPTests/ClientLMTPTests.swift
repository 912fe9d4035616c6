import ElemtaSMTP
import Testing

struct ClientLMTPTests {
    typealias Row = ClientSessionTests.Row

    private static let greeting = "220 mail.example.com LMTP"
    private static let plain = [greeting, ClientDialogue.offersNothing]
    private static let pipelined = [greeting, ClientDialogue.offersPipelining]
    private static let all = [greeting, ClientDialogue.offersAll]
    private static let three = [
        ClientTransaction.message(to: ["a@example.com", "b@example.com", "c@example.com"])
    ]
    private static let taken = ["250 ok", "250 ok", "250 ok", "250 ok", "354 go"]

    private static func dialogue(
        _ replies: [String], _ transactions: [ClientTransaction],
        _ mailProtocol: ClientProtocol = .lmtp(isLocal: true), tls: ClientTLSPolicy = .off
    ) -> ClientDialogue {
        ClientDialogue(
            replies: replies, transactions: transactions, mailProtocol: mailProtocol, tls: tls)
    }

    static let rows: [Row] = [
        Row(
            "one recipient", plain + ["250 ok", "250 ok", "354 go", "250 2.1.5 saved"],
            is: "accepted 250 2.1.5 saved"),
        Row(
            "each has its own", pipelined + taken + ["250 a\n552 5.2.2 b full\n451 4.2.0 c locked"],
            three,
            is: "accepted 250 a; failed 552 5.2.2 b full at endOfData; "
                + "deferred 451 4.2.0 c locked at endOfData"),
        Row(
            "who was refused at RCPT has none",
            pipelined + ["250 ok", "250 ok", "550 5.1.1 no b", "250 ok", "354 go", "450 a\n250 c"],
            three,
            is: "deferred 450 a at endOfData; failed 550 5.1.1 no b at recipient; accepted 250 c"),
        Row(
            "one by one", plain + taken + ["250 a\n250 b\n250 c"], three,
            is: "accepted 250 a; accepted 250 b; accepted 250 c"),
        Row(
            "of several lines each", plain + taken + ["250-a\n250 a\n250-b\n250 b\n250 c"], three,
            is: "accepted 250 a a; accepted 250 b b; accepted 250 c"),
        Row(
            "one is missing", pipelined + taken + ["250 a\n550 b"], three,
            is: "accepted 250 a; failed 550 b at endOfData; "
                + "deferred timed out at endOfData; may be duplicated"),
        Row(
            "421 instead of the second", pipelined + taken + ["250 a\n421 4.3.2 bye"], three,
            is: "accepted 250 a; deferred 421 4.3.2 bye at endOfData; "
                + "deferred 421 4.3.2 bye at endOfData"),
        Row(
            "nonsense instead of the second", pipelined + taken + ["250 a\nwhat?"], three,
            is: "accepted 250 a; deferred malformed at endOfData; "
                + "deferred malformed at endOfData; may be duplicated"),
        Row(
            "354 instead of the second", pipelined + taken + ["250 a\n354 b"], three,
            is: "accepted 250 a; deferred outOfSequence(354) at endOfData; "
                + "deferred outOfSequence(354) at endOfData"),
        Row(
            "nobody taken, DATA refused",
            pipelined + ["250 ok", "550 a", "550 b", "450 c", "503 nobody"], three,
            is: "failed 550 a at recipient; failed 550 b at recipient; "
                + "deferred 450 c at recipient"),
        Row(
            "nobody taken and yet 354", pipelined + ["250 ok", "550 a", "354 go"],
            [.message(), .message()], is: "failed 550 a at recipient"),
        Row(
            "a second message over the same connection",
            pipelined + taken + ["250 a\n250 b\n250 c", "250 ok", "250 ok", "354 go", "250 d"],
            three + [.message()],
            is: "accepted 250 a; accepted 250 b; accepted 250 c", "accepted 250 d"),
        Row(
            "RSET after one was refused",
            pipelined + taken + [
                "250 a\n550 b\n250 c", "250 reset", "250 ok", "250 ok", "354 go", "250 d",
            ], three + [.message()],
            is: "accepted 250 a; failed 550 b at endOfData; accepted 250 c", "accepted 250 d"),
        Row(
            "an SMTP server", [greeting, "502 5.5.1 what?"],
            is: "closed: outOfSequence(502) at hello"),
        Row("refused", [greeting, "550 5.7.1 no"], is: "closed: 550 5.7.1 no at hello"),
    ]

    @Test(
        "Each recipient gets the reply that is meant for him, wherever TCP cuts it", arguments: rows
    )
    func outcomes(row: Row) {
        let dialogue = Self.dialogue(row.replies, row.transactions)
        let whole = dialogue.play()
        #expect(whole.outcomes == row.outcomes)
        #expect(dialogue.play(piece: 1) == whole)
        for cut in 1..<dialogue.serverOctetCount {
            #expect(dialogue.play(cut: cut) == whole, "cut at \(cut)")
        }
    }

    @Test func oneReplyTooManyEndsTheConnectionAndChangesNothing() {
        let replies = Self.pipelined + Self.taken + ["250 a\n250 b\n250 c\n250 d"]
        let record = Self.dialogue(replies, Self.three + [.message()]).play()
        #expect(record.outcomes == ["accepted 250 a; accepted 250 b; accepted 250 c"])
    }

    @Test(
        "A reply before the content's end is taken for nobody's, if it may be about one of several",
        arguments: [
            (1, "552 5.3.4 too large", "failed"), (2, "552 5.3.4 too large", "deferred"),
            (2, "421 4.3.2 bye", "deferred"), (1, "250 done", "deferred"),
        ])
    func earlyReply(recipients: Int, reply: String, verdict: String) throws {
        var session = ClientSession(
            heloName: Array("client.example.com".utf8), speaking: .lmtp(isLocal: true))
        func say(_ line: String, _ session: inout ClientSession) -> ClientAction {
            session.next(in: Array("\(line)\r\n".utf8).span).action
        }
        _ = say("220 hi", &session)
        _ = say("250 hi", &session)
        _ = session.begin(.message(to: (0..<recipients).map { "\($0)@example.com" }))
        for _ in 0...recipients { _ = say("250 ok", &session) }
        guard case .sendContent = say("354 go", &session) else {
            Issue.record("no content is wanted")
            return
        }
        guard case .ended(let result) = say(reply, &session) else {
            Issue.record("the reply doesn't end it")
            return
        }
        let isReady = session.isReady
        #expect(!isReady)
        #expect(
            result.verdicts.map {
                switch $0 {
                case .accepted: "accepted"
                case .deferred: "deferred"
                case .failed: "failed"
                }
            } == Array(repeating: verdict, count: recipients))
    }

    @Test func theLastChunkIsAnsweredForEachRecipientToo() {
        let message = ClientTransaction.message(
            to: ["a@example.com", "b@example.com"], octets: 70_000)
        let record = Self.dialogue(
            Self.all + ["250 ok", "250 ok", "250 ok", "250 a\n452 4.2.2 b full"], [message]
        ).play()
        #expect(record.outcomes == ["accepted 250 a; deferred 452 4.2.2 b full at endOfData"])
        #expect(
            record.sent == """
                LHLO client.example.com
                MAIL FROM:<sender@example.org> SIZE=70000
                RCPT TO:<a@example.com>
                RCPT TO:<b@example.com>
                BDAT 70000 LAST
                {content}
                QUIT

                """)
    }

    @Test func reportsAreNotLeftToTheServer() {
        let message = ClientTransaction.message(
            parameters: MailParameters(returnContent: .full), notify: .success)
        let record = Self.dialogue(
            Self.all + ["250 ok", "250 ok", "354 go", "250 done"], [message]
        ).play()
        #expect(record.outcomes == ["accepted 250 done"])
        #expect(!record.sent.contains("RET=") && !record.sent.contains("NOTIFY="))
    }

    @Test(
        "What requires TLS goes without where it stays on this machine, and nowhere else",
        arguments: [
            (ClientProtocol.lmtp(isLocal: true), "accepted 250 done"),
            (.lmtp(isLocal: false), "failed needsRequireTLS"), (.smtp, "failed needsRequireTLS"),
        ])
    func requireTLS(mailProtocol: ClientProtocol, outcome: String) {
        let message = ClientTransaction.message(parameters: MailParameters(requireTLS: true))
        let record = Self.dialogue(
            Self.plain + ["250 ok", "250 ok", "354 go", "250 done"], [message], mailProtocol
        ).play()
        #expect(record.outcomes == [outcome])
        #expect(!record.sent.contains("REQUIRETLS"))
    }

    @Test func insideTLSTheServerIsGreetedByLHLOAgain() {
        let offer = "250-mail.example.com\n250 STARTTLS"
        let inside = "250-mail.example.com\n250-PIPELINING\n250 REQUIRETLS"
        let message = ClientTransaction.message(parameters: MailParameters(requireTLS: true))
        let record = Self.dialogue(
            [
                Self.greeting, offer, "220 go", ClientDialogue.authenticated, inside, "250 ok",
                "250 ok", "354 go", "250 done",
            ], [message], .lmtp(isLocal: false), tls: .requireTLS
        ).play()
        #expect(record.outcomes == ["accepted 250 done"])
        #expect(
            record.sent == """
                LHLO client.example.com
                STARTTLS
                {handshake}
                LHLO client.example.com
                MAIL FROM:<sender@example.org> REQUIRETLS
                RCPT TO:<a@example.com>
                DATA
                {data}{content}
                QUIT

                """)
    }
}
