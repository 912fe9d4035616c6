import Testing

@testable import ElemtaSMTP

/// STARTTLS, REQUIRETLS and AUTH on the client's side.
struct ClientSecurityTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let dialogue: ClientDialogue
        let outcomes: [String]

        init(
            _ name: String, _ policy: ClientTLSPolicy, _ replies: [String],
            _ transactions: [ClientTransaction] = [.message()], login: ClientLogin? = nil,
            is outcomes: String...
        ) {
            testDescription = "\(policy): \(name)"
            dialogue = ClientDialogue(
                replies: replies, transactions: transactions, tls: policy, login: login)
            self.outcomes = outcomes
        }
    }

    private static let offersTLS = "250-mx.example.com\n250-SIZE 1000000\n250 STARTTLS"
    private static let offersNothing = ClientDialogue.offersNothing
    private static let offersRequireTLS = "250-mx.example.com\n250 REQUIRETLS"
    private static let clear = ["220 mx.example.com ESMTP", offersTLS, "220 go ahead"]
    private static let delivered = ["250 ok", "250 ok", "354 go", "250 done"]
    private static let requiring = [
        ClientTransaction.message(parameters: MailParameters(requireTLS: true))
    ]

    private static func tls(_ handshake: String, _ offer: String = offersNothing) -> [String] {
        clear + [handshake, offer]
    }

    static let handshakes: [Row] = [
        Row("not offered", .off, [clear[0], offersTLS] + delivered, is: "accepted 250 done"),
        Row(
            "not offered", .opportunistic, [clear[0], offersNothing] + delivered,
            is: "accepted 250 done"),
        Row(
            "not offered", .required, [clear[0], offersNothing],
            is: "closed: TLS: notOffered (required)"),
        Row(
            "HELO only", .required, [clear[0], "502 what?", "250 hi"],
            is: "closed: TLS: notOffered (required)"),
        Row(
            "refused for now", .opportunistic, [clear[0], offersTLS, "454 4.7.0 later"],
            is: "closed: TLS: refused 454 4.7.0 later (opportunistic, clear)"),
        Row(
            "refused", .required, [clear[0], offersTLS, "554 no"],
            is: "closed: TLS: refused 554 no (required, clear)"),
        Row(
            "another reply than 220", .opportunistic, [clear[0], offersTLS, "250 ok"],
            is: "closed: TLS: outOfSequence(250) at startTLS (opportunistic, clear)"),
        Row(
            "no reply", .opportunistic, [clear[0], offersTLS, ClientDialogue.silence],
            is: "closed: TLS: timed out at startTLS (opportunistic, clear)"),
        Row(
            "stalled handshake", .opportunistic, clear + [ClientDialogue.silence],
            is: "closed: TLS: timed out at handshake (opportunistic, clear)"),
        Row(
            "lost in the handshake", .required, clear + [ClientDialogue.lost],
            is: "closed: TLS: lost at handshake (required, clear)"),
        Row(
            "failed handshake", .opportunistic, clear + [ClientDialogue.failed],
            is: "closed: TLS: no shared cipher (opportunistic, clear)"),
        Row(
            "lost after the handshake", .opportunistic,
            clear + [ClientDialogue.unverified, ClientDialogue.lost],
            is: "closed: TLS: lost at hello (opportunistic, clear)"),
        Row(
            "refused inside TLS", .opportunistic, tls(ClientDialogue.unverified, "421 busy"),
            is: "closed: 421 busy at hello"),
    ]

    static let identities: [Row] = [
        Row(
            "a stranger", .opportunistic, tls(ClientDialogue.unverified) + delivered,
            is: "accepted 250 done"),
        Row(
            "a stranger", .required, clear + [ClientDialogue.unverified],
            is: "closed: TLS: unverified (required)"),
        Row(
            "a name from DNS", .required, tls(ClientDialogue.verified) + delivered,
            is: "accepted 250 done"),
        Row(
            "a name from DNS", .requireTLS, clear + [ClientDialogue.verified],
            is: "closed: TLS: unverified (requireTLS)"),
        Row(
            "a proven name", .requireTLS,
            tls(ClientDialogue.authenticated, offersRequireTLS) + delivered, requiring,
            is: "accepted 250 done"),
        Row(
            "a proven name without REQUIRETLS", .requireTLS, tls(ClientDialogue.authenticated),
            is: "closed: TLS: requireTLSNotOffered (requireTLS)"),
        Row(
            "REQUIRETLS offered in clear only", .requireTLS,
            [clear[0], "250-mx\n250-REQUIRETLS\n250 STARTTLS", "220 go"]
                + [ClientDialogue.authenticated, offersNothing],
            is: "closed: TLS: requireTLSNotOffered (requireTLS)"),
        // Whatever brought it here: nothing is sent.
        Row(
            "a message that requires it", .off, [clear[0], offersRequireTLS], requiring,
            is: "failed needsRequireTLS"),
        Row(
            "a message that requires it", .opportunistic,
            tls(ClientDialogue.unverified, offersRequireTLS), requiring,
            is: "failed needsRequireTLS"),
        Row(
            "a message that requires it", .required,
            tls(ClientDialogue.verified, offersRequireTLS), requiring, is: "failed needsRequireTLS"),
        Row(
            "a report that requires it", .opportunistic,
            tls(ClientDialogue.unverified, offersRequireTLS) + delivered,
            [.message(from: "", parameters: MailParameters(requireTLS: true))],
            is: "accepted 250 done"),
    ]

    @Test(
        "STARTTLS leads as far as the policy lets it, wherever TCP cuts the replies",
        arguments: handshakes + identities)
    func security(row: Row) {
        let whole = row.dialogue.play()
        #expect(whole.outcomes == row.outcomes)
        #expect(row.dialogue.play(piece: 1) == whole)
        for cut in 1..<row.dialogue.serverOctetCount {
            #expect(row.dialogue.play(cut: cut) == whole, "cut at \(cut)")
        }
    }

    @Test(
        "Octets in clear in front of the handshake end the connection and are taken for nothing",
        arguments: [
            // Behind the reply to STARTTLS, and in front of it.
            ["220 go\n250 mx\n250 ok"], ["250-mx\n250 STARTTLS\n220 go"],
        ],
        [ClientTLSPolicy.opportunistic, .required])
    func injection(replies: [String], policy: ClientTLSPolicy) {
        let offer = replies[0].hasPrefix("220") ? [Self.offersTLS] : []
        let dialogue = ClientDialogue(
            replies: [Self.clear[0]] + offer + replies, transactions: [.message()], tls: policy)
        let record = dialogue.play()
        #expect(record.outcomes == ["closed: TLS: octetsInClear (\(policy))"])
        #expect(!record.sent.contains("{handshake}"))
    }

    @Test func octetsDuringTheHandshakeEndTheConnection() {
        var session = ClientSession(heloName: [0x61], tls: .opportunistic)
        for reply in ["220 a\r\n", "250-a\r\n250 STARTTLS\r\n", "220 go\r\n"] {
            _ = session.next(in: Array(reply.utf8).span).action
        }
        #expect(session.stage == .handshake)
        let (consumed, action) = session.next(in: Array("250 x".utf8).span)
        #expect(consumed == 5)
        guard case .close(.tls(.octetsInClear, .opportunistic)?) = action else {
            Issue.record("\(action)")
            return
        }
    }

    @Test func insideTLSNothingFromBeforeIsKnown() {
        // SIZE was offered in clear alone, and so was AUTH.
        let record = ClientDialogue(
            replies: [Self.clear[0], Self.offersTLS + "\n", "220 go"]
                + [ClientDialogue.unverified, Self.offersNothing] + Self.delivered,
            transactions: [.message()], tls: .opportunistic
        ).play()
        #expect(
            record.sent == """
                EHLO client.example.com
                STARTTLS
                {handshake}
                EHLO client.example.com
                MAIL FROM:<sender@example.org>
                RCPT TO:<a@example.com>
                DATA
                {data}{content}
                QUIT

                """)
    }

    @Test(
        "MAIL says REQUIRETLS where the connection is one for it, and AUTH= where AUTH is offered",
        arguments: [
            (ClientTLSPolicy.requireTLS, offersRequireTLS, nil, " REQUIRETLS"),
            (.requireTLS, offersRequireTLS, [], " REQUIRETLS"),
            (.requireTLS, "250-mx\n250-AUTH X\n250 REQUIRETLS", [], " REQUIRETLS AUTH=<>"),
            (
                .requireTLS, "250-mx\n250-AUTH PLAIN\n250 REQUIRETLS",
                Array("e=mc2@example.com".utf8), " REQUIRETLS AUTH=e+3Dmc2@example.com"
            ),
        ] as [(ClientTLSPolicy, String, [UInt8]?, String)])
    func parameters(policy: ClientTLSPolicy, offer: String, submitter: [UInt8]?, mail: String) {
        let parameters = MailParameters(requireTLS: true, submitter: submitter)
        let record = ClientDialogue(
            replies: Self.tls(ClientDialogue.authenticated, offer) + Self.delivered,
            transactions: [.message(parameters: parameters)], tls: policy
        ).play()
        #expect(record.sent.contains("\nMAIL FROM:<sender@example.org>\(mail)\n"), "\(record.sent)")
    }

    @Test(
        "A failure of TLS is for good only where the message required it",
        arguments: [
            (TLSFailure.notOffered, true), (.handshake("x"), true), (.unverified, true),
            (.requireTLSNotOffered, true), (.octetsInClear, false),
            (.refused(RemoteReply(code: 454, enhanced: nil, text: [])), false),
            (.refused(RemoteReply(code: 554, enhanced: nil, text: [])), true),
            (.interrupted(.timedOut(.handshake)), false),
        ])
    func permanence(failure: TLSFailure, isLasting: Bool) {
        #expect(ClientFailure.tls(failure, .requireTLS).isPermanent == isLasting)
        #expect(!ClientFailure.tls(failure, .required).isPermanent)
        #expect(!ClientFailure.tls(failure, .opportunistic).isPermanent)
    }
}
