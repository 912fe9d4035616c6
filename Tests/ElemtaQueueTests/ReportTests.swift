import ElemtaSMTP
import Testing

@testable import ElemtaQueue

@Suite struct ReportTests {
    private let refusal = DeliveryStatus(
        code: 550, enhancedStatus: EnhancedStatus(.permanentFailure, 1, 1),
        text: Array("no\r\nsuch \u{7}user".utf8), nextHop: "mx.a.example")

    /// Accepts a message, gives it one answer, and returns the report that comes of it, if any.
    private func report(
        about content: String = "Subject: hello\r\nX: y\r\n\r\nbody\r\n",
        from sender: String = "sender@client.example",
        to recipients: [String] = ["one@a.example"], traits: ContentSummary.Traits = [],
        _ result: RecipientResult, _ adjust: (inout MailTransaction) -> Void = { _ in }
    ) throws -> StoredMessage? {
        let fixture = try SpoolFixture(try TestDirectory())
        var envelope = try fixture.envelope(from: sender, to: recipients, adjust)
        envelope.summary.traits = traits
        let id = try fixture.accept(envelope, Array(content.utf8))
        fixture.answer(try fixture.work()[0], result)
        fixture.spool.stop()
        let next = try SpoolFixture(fixture.directory, isStarted: false)
        let left = try next.spool.list().messages.map(\.id).filter { $0 != id }
        #expect(left.count < 2)
        return try left.first.map { try next.spool.read($0) }
    }

    @Test("A refusal becomes a report to the sender, from nobody")
    func refusalIsReported() throws {
        let report = try #require(
            try report(to: ["one@a.example", "two@a.example"], .failed(refusal)) {
                $0.parameters.envelopeID = Array("QQ314159".utf8)
                $0.recipients = [
                    AcceptedRecipient(
                        path: $0.recipients[0].path,
                        originalRecipient: OriginalRecipient(
                            addressType: Array("rfc822".utf8),
                            address: Array("first@a.example".utf8))),
                    $0.recipients[1],
                ]
            })
        #expect(report.envelope.reversePath == .null)
        #expect(report.envelope.recipients.map { "\($0.path)" } == ["<sender@client.example>"])
        let text = String(decoding: try report.octets, as: UTF8.self)
        for line in [
            "From: Mail Delivery System <MAILER-DAEMON@mail.example.com>",
            "To: <sender@client.example>", "Auto-Submitted: auto-replied",
            "Content-Type: multipart/report; report-type=delivery-status;",
            "Content-Type: message/delivery-status", "Content-Type: text/rfc822-headers",
            "Original-Envelope-Id: QQ314159", "Reporting-MTA: dns; mail.example.com",
            "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "Original-Recipient: rfc822; first@a.example",
            "Final-Recipient: rfc822; one@a.example", "Final-Recipient: rfc822; two@a.example",
            "Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx.a.example",
            "Diagnostic-Code: smtp; 550 no such user", "Subject: hello", "X: y",
        ] {
            #expect(text.contains("\r\n\(line)\r\n") || text.hasPrefix("\(line)\r\n"), "\(line)")
        }
        #expect(!text.contains("\r\nbody\r\n"))
        let isClean = text.utf8.allSatisfy { $0 >= 32 && $0 < 127 || $0 == 13 || $0 == 10 }
        #expect(isClean)
        #expect(text.split(separator: "\r\n").allSatisfy { !$0.utf8.contains(10) })
    }

    @Test("RET=FULL brings the message back, unless DATA couldn't carry it")
    func fullReturn() throws {
        let content = "Subject: hello\r\n\r\n.body\r\n"
        let whole = try #require(
            try report(about: content, .failed(refusal)) { $0.parameters.returnContent = .full })
        let text = String(decoding: try whole.octets, as: UTF8.self)
        #expect(text.contains("Content-Type: message/rfc822\r\n\r\n\(content)--"))

        let unsafe = "Subject: \u{0}hello\nX: y\r\n\r\nbare\n.\nfeed"
        let header = try #require(
            try report(about: unsafe, traits: [.bareLineFeed, .nul], .failed(refusal)) {
                $0.parameters.returnContent = .full
            })
        let clean = String(decoding: try header.octets, as: UTF8.self)
        #expect(
            clean.contains(
                "Content-Type: text/rfc822-headers\r\n\r\nSubject: ?hello\r\nX: y\r\n--"))
        #expect(!clean.contains("feed"))
    }

    @Test(
        "A report about a message with REQUIRETLS asks for it too, and returns the header at most")
    func requireTLS() throws {
        let report = try #require(
            try report(.failed(refusal)) {
                $0.parameters.requireTLS = true
                $0.parameters.returnContent = .full
            })
        #expect(report.envelope.parameters.requireTLS)
        // RFC 8689 5: but it isn't lost for want of it.
        #expect(report.envelope.transportDemand == .none)
        let text = String(decoding: try report.octets, as: UTF8.self)
        #expect(text.contains("Content-Type: text/rfc822-headers\r\n\r\nSubject: hello\r\n"))
        #expect(!text.contains("body"))
    }

    @Test("UTF-8 addresses make a report of RFC 6533")
    func internationalReport() throws {
        let report = try #require(
            try report(
                from: "пошта@client.example", to: ["дин@a.example"], .failed(refusal)
            ) { $0.parameters.smtputf8 = true })
        #expect(report.envelope.parameters.smtputf8)
        #expect(report.envelope.parameters.bodyType == .eightBitMIME)
        #expect(report.envelope.summary.isEightBit)
        let text = String(decoding: try report.octets, as: UTF8.self)
        #expect(text.contains("Content-Type: message/global-delivery-status\r\n"))
        #expect(text.contains("Final-Recipient: utf-8; дин@a.example\r\n"))
        // RFC 2045 6.4: the whole can't be less than its parts.
        let fields = text.prefix(upTo: try #require(text.firstRange(of: "\r\n\r\n")).lowerBound)
        #expect(fields.contains("\r\nContent-Transfer-Encoding: 8bit"))
    }

    @Test(
        "An 8-bit original comes back in a report that every next hop can take",
        arguments: [
            ("Subject: caf\u{E9}\r\n\r\nbody\r\n", nil, false),
            ("Subject: hello\r\n\r\ncaf\u{E9}\r\n", .full, false),
            ("Subject: caf\u{E9}\r\n\r\ncaf\u{E9}\r\n", .full, true),
        ] as [(String, ReturnContent?, Bool)])
    func eightBitOriginal(
        content: String, asked: ReturnContent?, isGlobal: Bool
    ) throws {
        let report = try #require(
            try report(about: content, traits: [.eightBit], .failed(refusal)) {
                $0.parameters.returnContent = asked
                $0.parameters.bodyType = .eightBitMIME
                $0.parameters.smtputf8 = isGlobal
            })
        #expect(report.envelope.parameters.bodyType == .sevenBit)
        #expect(!report.envelope.summary.isEightBit)
        let octets = try report.octets
        let isSevenBit = octets.allSatisfy { $0 < 127 }
        #expect(isSevenBit)
        let text = String(decoding: octets, as: UTF8.self)
        if isGlobal {
            // RFC 6532 3.7: a message/global may be encoded.
            #expect(
                text.contains(
                    "Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n"
                        + "\r\nSubject: caf=C3=A9\r\n\r\ncaf=C3=A9\r\n--"))
        } else if asked == .full {
            // A message/rfc822 may not be (RFC 2045 6.4): what is in it is.
            #expect(text.contains("Content-Type: message/rfc822\r\n\r\nSubject: hello\r\n"))
            #expect(text.contains("Content-Transfer-Encoding: base64\r\n\r\nY2Fmw6kNCg==\r\n--"))
        } else {
            #expect(
                text.contains(
                    "Content-Type: text/rfc822-headers\r\n"
                        + "Content-Transfer-Encoding: quoted-printable\r\n\r\nSubject: caf=C3=A9\r\n--"
                ))
        }
    }

    @Test("An 8-bit original that says what it is comes back whole, encoded part by part")
    func eightBitOriginalInParts() throws {
        let content = """
            Subject: hello\r
            MIME-Version: 1.0\r
            Content-Type: text/plain; charset=utf-8\r
            Content-Transfer-Encoding: 8bit\r
            \r
            A small cup of coffee in a caf\u{E9}.\r

            """
        let report = try #require(
            try report(about: content, traits: [.eightBit], .failed(refusal)) {
                $0.parameters.returnContent = .full
                $0.parameters.bodyType = .eightBitMIME
            })
        #expect(!report.envelope.summary.isEightBit)
        let text = String(decoding: try report.octets, as: UTF8.self)
        #expect(text.contains("Content-Type: message/rfc822\r\n\r\nSubject: hello\r\n"))
        #expect(text.contains("\r\n\r\nA small cup of coffee in a caf=C3=A9.\r\n--"))
        #expect(!text.contains("caf\u{E9}"))
    }

    @Test("An envelope id comes back with all its spaces")
    func spacesInEnvelopeID() throws {
        let report = try #require(
            try report(.failed(refusal)) { $0.parameters.envelopeID = Array("a  b".utf8) })
        let text = String(decoding: try report.octets, as: UTF8.self)
        #expect(text.contains("Original-Envelope-Id: a  b\r\n"))
    }

    @Test("A report about a UTF-8 address to somebody without one is 7-bit all the same")
    func encodedStatus() throws {
        let report = try #require(
            try report(to: ["\u{434}@a.example"], .failed(refusal)) {
                $0.parameters.smtputf8 = true
            })
        #expect(!report.envelope.parameters.smtputf8)
        let octets = try report.octets
        let isSevenBit = octets.allSatisfy { $0 < 127 }
        #expect(isSevenBit)
        let text = String(decoding: octets, as: UTF8.self)
        #expect(
            text.contains(
                "Content-Type: message/global-delivery-status\r\n"
                    + "Content-Transfer-Encoding: quoted-printable\r\n"))
        #expect(text.contains("Final-Recipient: utf-8; =D0=B4@a.example\r\n"))
    }

    @Test(
        "Quoted-printable text comes back as it was, in lines of at most 76 characters",
        arguments: [
            ("", ""), ("a=b\r\n", "a=3Db\r\n"), ("end \r\nend\t", "end=20\r\nend=09"),
            ("\u{E9}\u{7F}\r\n.", "=C3=A9=7F\r\n."), ("a\rb\nc", "a=0Db=0Ac"),
            (
                String(repeating: "x", count: 77) + "\r\n",
                String(repeating: "x", count: 75) + "=\r\nxx\r\n"
            ),
            (String(repeating: "x", count: 76), String(repeating: "x", count: 76)),
            (
                String(repeating: "x", count: 74) + "\u{E9}",
                String(repeating: "x", count: 74) + "=\r\n=C3=A9"
            ),
        ])
    func quotedPrintable(text: String, encoded: String) {
        let result = QuotedPrintable.encode(Array(text.utf8))
        #expect(String(decoding: result, as: UTF8.self) == encoded)
    }

    @Test(
        "The server that has refused is named by a host name or an address literal, without a port",
        arguments: [
            ("mx.a.example", "mx.a.example"), ("mx.a.example [192.0.2.1]", "mx.a.example"),
            ("mx.a.example (192.0.2.1:25)", "mx.a.example"), ("mx.a.example:587", "mx.a.example"),
            ("[192.0.2.1]", "[192.0.2.1]"), ("192.0.2.1:3926", "[192.0.2.1]"),
            ("[2001:db8::1]:25", "[IPv6:2001:db8::1]"),
            ("[IPv6:2001:db8::1]:2525", "[IPv6:2001:db8::1]"), ("", nil), ("[nonsense]", nil),
        ] as [(String, String?)])
    func remoteMTA(nextHop: String, name: String?) throws {
        var status = refusal
        status.nextHop = nextHop
        let text = String(
            decoding: try #require(try report(.failed(status))).octets, as: UTF8.self)
        let fields = text.split(separator: "\r\n").filter { $0.hasPrefix("Remote-MTA:") }
        #expect(fields == (name.map { ["Remote-MTA: dns; \($0)"] } ?? []))
    }

    @Test("Our own words aren't put into the other server's mouth")
    func ownWords() throws {
        let words = "Can't connect to mx.a.example [192.0.2.1]: connect: Connection refused"
        let ours = DeliveryStatus(
            enhancedStatus: EnhancedStatus(.persistentTransientFailure, 4, 1),
            text: Array(words.utf8), nextHop: "mx.a.example [192.0.2.1]")
        let text = String(
            decoding: try #require(try report(.failed(ours))).octets, as: UTF8.self)
        #expect(!text.contains("said"))
        #expect(!text.contains("Remote-MTA"))
        #expect(text.contains("    Can't connect to mx.a.example [192.0.2.1]:"))
        let quoted = String(
            decoding: try #require(try report(.failed(refusal))).octets, as: UTF8.self)
        #expect(quoted.contains("    mx.a.example said: 550 no such user\r\n"))
    }

    @Test(
        "Who is told what",
        arguments: [
            ([], "failed", true), ([.failure], "failed", true), ([.never], "failed", false),
            ([.success], "failed", false), ([.success], "delivered", true),
            ([.success], "relayed", true), ([.success], "passed on", false),
            ([], "delivered", false), ([.failure, .delay], "relayed", false),
        ] as [(NotifyConditions, String, Bool)])
    func notify(conditions: NotifyConditions, outcome: String, isTold: Bool) throws {
        let accepted = DeliveryStatus(code: 250, nextHop: "mx.a.example")
        let result: RecipientResult =
            switch outcome {
            case "failed": .failed(refusal)
            case "delivered": .delivered(accepted)
            case "relayed": .relayed(accepted, reportsFollow: false)
            default: .relayed(accepted, reportsFollow: true)
            }
        let report = try report(result) { transaction in
            transaction.recipients = [
                AcceptedRecipient(path: transaction.recipients[0].path, notify: conditions)
            ]
        }
        #expect((report != nil) == isTold)
        guard let report else { return }
        let text = String(decoding: try report.octets, as: UTF8.self)
        #expect(text.contains("Action: \(outcome)\r\n"))
    }

    @Test("Nobody is told about a message from <>")
    func noReportAboutReports() throws {
        #expect(try report(from: "", .failed(refusal)) == nil)
    }

    @Test("A failed message stays to be looked at, and goes when its time is over")
    func failedMessageIsKept() throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.failedRetention = 1000 }
        let envelope = try fixture.envelope(from: "")
        let id = try fixture.accept(envelope, [])
        fixture.answer(try fixture.work()[0], .failed(refusal))
        _ = try fixture.event { event in
            if case .failed(id, _, 1, refusal) = event { true } else { nil }
        }
        let listed = try fixture.spool.list(.state(.failed)).messages
        #expect(listed.map(\.reason) == [refusal])
        fixture.pass(1001)
        _ = try fixture.event { event in
            if case .expired(id) = event { true } else { nil }
        }
        #expect(throws: SpoolError.unknownMessage(id)) { try fixture.spool.show(id) }
    }

    @Test("A delay is reported once, when asked for")
    func delayIsReported() throws {
        let fixture = try SpoolFixture(try TestDirectory()) {
            $0.delayWarning = 50
            $0.retry = RetryPolicy(schedule: [60])
        }
        let id = try fixture.accept(
            try fixture.envelope { transaction in
                transaction.recipients = [
                    AcceptedRecipient(path: transaction.recipients[0].path, notify: [.delay])
                ]
            }, [])
        var reports = 0
        for _ in 0..<3 {
            var item: WorkItem?
            while item == nil {
                for handedOut in try fixture.anyWork() {
                    if handedOut.id == id {
                        item = handedOut
                    } else {
                        reports += 1
                        fixture.answer(handedOut, .delivered(DeliveryStatus(code: 250)))
                    }
                }
            }
            fixture.answer(try #require(item), .deferred(DeliveryStatus(code: 451)))
            _ = try fixture.event { event in
                if case .deferred = event { true } else { nil }
            }
            fixture.pass(67)
        }
        #expect(reports == 1)
        #expect(try fixture.spool.show(id).recipients[0].delayReported)
    }

    @Test("An alias that was expanded is reported when the message comes, and its mailboxes later")
    func expandedAlias() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        var envelope = try fixture.envelope(to: ["one@a.example", "two@a.example"])
        let alias = AcceptedRecipient(
            path: .mailbox(try #require(Mailbox("all@a.example"))), notify: [.success, .failure])
        envelope.note(expanded: alias, to: 2)
        let id = try fixture.accept(envelope, Array("Subject: hello\r\n\r\nbody\r\n".utf8))
        let work = try fixture.work(2)
        #expect(work.filter { $0.id == id }.map(\.recipients) == [.allPending(2)])
        let reported = try #require(work.first { $0.id != id })
        let report = try fixture.spool.read(reported.id)
        let text = String(decoding: try report.octets, as: UTF8.self)
        for line in [
            "To: <sender@client.example>", "Final-Recipient: rfc822; all@a.example",
            "Action: expanded", "Status: 2.1.5", "Subject: hello",
            "Diagnostic-Code: x-elemta; expanded to 2 mailboxes",
        ] {
            #expect(text.contains("\r\n\(line)\r\n"), "\(line)")
        }
        #expect(!text.contains("one@a.example"))
        for item in work { fixture.answer(item, .delivered(DeliveryStatus(code: 250))) }
        fixture.spool.stop()
        let next = try SpoolFixture(fixture.directory, isStarted: false)
        #expect(try next.spool.list().messages.isEmpty)
    }
}
