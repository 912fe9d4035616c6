import ElemtaSMTP
import Testing

@testable import elemta

@Suite("sendmail") struct SendmailTests {
    // MARK: The command line

    private func parse(_ line: String) throws(SendmailArguments.Failure) -> SendmailArguments {
        try SendmailArguments(line.split(separator: " ").map(String.init))
    }

    @Test("options are read as programs write them")
    func options() throws {
        let table: [(String, (inout SendmailArguments) -> Void)] = [
            ("", { _ in }),
            ("a@b c@d", { $0.recipients = ["a@b", "c@d"] }),
            ("-t -i", { ($0.readsRecipients, $0.ignoresDots) = (true, true) }),
            ("-ti", { ($0.readsRecipients, $0.ignoresDots) = (true, true) }),
            ("-oi -fa@b c", { ($0.ignoresDots, $0.sender, $0.recipients) = (true, "a@b", ["c"]) }),
            ("-o i -f a@b", { ($0.ignoresDots, $0.sender) = (true, "a@b") }),
            ("-oem -odb -oeq -om -bm a", { $0.recipients = ["a"] }),
            (
                "-i -FCron -froot -t",
                {
                    ($0.ignoresDots, $0.fullName, $0.sender, $0.readsRecipients) = (
                        true, "Cron", "root", true
                    )
                }
            ),
            (
                "-r a@b -F Name c",
                { ($0.sender, $0.fullName, $0.recipients) = ("a@b", "Name", ["c"]) }
            ),
            ("-B8BITMIME -h 5 -Lx -O a=b -X /log -p SMTP -v -n -U -G a", { $0.recipients = ["a"] }),
            ("-B 8BITMIME -d0 -em -Ac -m a", { $0.recipients = ["a"] }),
            ("-- -t", { $0.recipients = ["-t"] }), ("-", { $0.recipients = ["-"] }),
            (
                "-Nnever -R full -V id a",
                {
                    ($0.notify, $0.returns, $0.envelopeID, $0.recipients) = (
                        "never", "full", "id", ["a"]
                    )
                }
            ),
            ("-C /x.yaml -bp", { ($0.configuration, $0.mode) = ("/x.yaml", .listQueue) }),
            ("--config /x.yaml", { $0.configuration = "/x.yaml" }),
            ("--config=/x.yaml -c/y.yaml", { $0.configuration = "/y.yaml" }),
            ("-bs", { $0.mode = .speakSMTP }), ("-bi", { $0.mode = .nothing }),
            ("-q", { $0.mode = .nothing }), ("-q30m", { $0.mode = .nothing }),
        ]
        for (line, change) in table {
            var expected = try SendmailArguments([])
            change(&expected)
            #expect(try parse(line) == expected, "\(line)")
        }
        #expect(try SendmailArguments(["-f", "", "a"]).sender == "")
    }

    @Test(
        "what can't be understood is told",
        arguments: [
            ("-k", "unknown option -k"), ("-tk a", "unknown option -k"), ("-f", "-f needs a value"),
            ("-bd", "-bd: run elemta server instead"), ("-bv a", "-bv isn't known here"),
            ("--verbose", "unknown option --verbose"), ("--config", "--config needs a file"),
        ])
    func mistakes(line: String, words: String) {
        #expect(throws: SendmailArguments.Failure(description: words)) { try parse(line) }
    }

    // MARK: The input

    private func read(_ text: String, endsAtDot: Bool = true, pieces: Int = 1) throws -> String {
        var input = SendmailInput(endsAtDot: endsAtDot, maximumCount: 10_000)
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            try input.append(rest.prefix(pieces))
            rest = rest.dropFirst(pieces)
        }
        try input.finish()
        return String(decoding: input.octets, as: UTF8.self)
    }

    @Test("lines end with CRLF, and a lone dot ends the message", arguments: [1, 2, 1000])
    func lines(pieces: Int) throws {
        let table = [
            ("", ""), ("a", "a\r\n"), ("a\nb\r\n\nc", "a\r\nb\r\n\r\nc\r\n"),
            ("a\r", "a\r\n"), ("a\rb\r\rc\n", "a b  c\r\n"), ("a\r\r\nb", "a \r\nb\r\n"),
            ("a\n.\nb\n", "a\r\n"), (".\r\nb", ""), ("a\n.", "a\r\n.\r\n"),
            ("a\n.\r", "a\r\n.\r\n"),
            ("a\n.b\n..\n. \n", "a\r\n.b\r\n..\r\n. \r\n"), (".\rb\n", ". b\r\n"),
            ("a.\n", "a.\r\n"), ("\0\u{E9}\n", "\0\u{E9}\r\n"),
        ]
        for (text, expected) in table {
            #expect(try read(text, pieces: pieces) == expected, "\(text.debugDescription)")
        }
        #expect(try read("a\n.\nb\n", endsAtDot: false, pieces: pieces) == "a\r\n.\r\nb\r\n")
    }

    @Test("a message that is too large is refused before it is all in memory")
    func tooLarge() throws {
        var input = SendmailInput(endsAtDot: true, maximumCount: 10)
        try input.append(Array("12345678".utf8))
        try input.finish()
        #expect(input.octets.count == 10)
        #expect(throws: SendmailInput.Failure.tooLarge) { try input.append(Array("1".utf8)) }
        var line = SendmailInput(endsAtDot: true, maximumCount: 10)
        try line.append(Array("123456789".utf8))
        #expect(throws: SendmailInput.Failure.tooLarge) { try line.finish() }
    }

    // MARK: The message

    private func message(_ text: String) throws -> SendmailMessage {
        SendmailMessage(Array(try read(text, endsAtDot: false).utf8))
    }

    private func text(_ message: SendmailMessage) -> String {
        String(decoding: message.octets, as: UTF8.self).replacing("\r\n", with: "\n")
    }

    @Test("the header section is told from the body, and blind copies leave it")
    func sections() throws {
        let table = [
            ("To: a\n\nbody\n", "To: a\n\nbody\n"), ("To: a\n", "To: a\n\n"),
            ("just words\n", "\njust words\n"), ("\nTo: body\n", "\nTo: body\n"), ("", "\n"),
            ("A: b\nwords\nC: d\n", "A: b\n\nwords\nC: d\n"),
            ("Bcc: a,\n b\nTo: c\nbCC : d\nResent-Bcc: e\n\nBcc: f\n", "To: c\n\nBcc: f\n"),
            ("From a@b Thu Jan 1 00:00:00 1970\nTo: a\n\nx\n", "To: a\n\nx\n"),
            ("Return-Path: <a@b>\nSubject: x\n\ty\n \nZ: z\n\n", "Subject: x\n\ty\n \nZ: z\n\n"),
            (" folded\nTo: a\n", "\n folded\nTo: a\n"), (": x\n", "\n: x\n"),
        ]
        for (input, expected) in table {
            #expect(text(try message(input)) == expected, "\(input.debugDescription)")
        }
        var some = try message("To: a\n\nbody\n")
        some.add("Date", "today")
        #expect(text(some) == "To: a\nDate: today\n\nbody\n")
        #expect(some.has("date") && some.has("to") && !some.has("body"))
    }

    @Test("recipients come from To, Cc and Bcc, or from their Resent- forms")
    func recipients() throws {
        let domain = try #require(Domain("here.example"))
        func found(_ text: String) throws -> [String] {
            try message(text).recipients().compactMap { $0.mailbox(in: domain)?.description }
        }
        #expect(
            try found(
                "To: A <a@b.example>,\n (x) c\nSubject: To: z\nCC: d@e.example\nbcc: f\ncc: g\n\nTo: h\n"
            )
                == [
                    "a@b.example", "c@here.example", "d@e.example", "f@here.example",
                    "g@here.example",
                ])
        #expect(
            try found("To: a\nResent-Cc: b\nResent-Bcc: c\n\n") == [
                "b@here.example", "c@here.example",
            ])
        #expect(try found("To: Undisclosed:;\nSubject: x\n") == [])
        #expect(throws: SendmailMessage.Failure(field: "cc")) { try found("To: a\nCc: b c\n") }
    }

    // MARK: The envelope

    private func envelope(
        _ line: String, _ text: String
    ) throws -> (envelope: SendmailEnvelope, text: String) {
        var message = try message(text)
        let envelope = try SendmailEnvelope(
            try parse(line), &message, of: SendmailIdentity(login: "me", fullName: "Me, Myself"),
            in: try #require(Domain("here.example")), id: "id1", time: UnixTime(seconds: 0))
        return (envelope, self.text(message))
    }

    @Test("what is missing is added, and what is there stays")
    func additions() throws {
        let added = """
            Subject: x
            From: "Me, Myself" <me@here.example>
            Date: Thu, 1 Jan 1970 00:00:00 +0000
            Message-ID: <id1@here.example>

            body

            """
        let (envelope, text) = try envelope(
            "-t a@b.example root", "Subject: x\nBcc: c, a@b.example\n\nbody\n")
        #expect(text == added)
        #expect("\(envelope.reversePath)" == "<me@here.example>")
        #expect(
            envelope.recipients.map(\.path.description)
                == ["<a@b.example>", "<root@here.example>", "<c@here.example>"])
        let whole = "From: a\nDate: b\nMessage-ID: c\n\n"
        #expect(try self.envelope("x", whole).text == whole)
        let table = [
            ("-f you x", "From: you@here.example", "<you@here.example>"),
            ("-f <you@b.example> x", "From: you@b.example", "<you@b.example>"),
            ("-f you -F Jo x", "From: Jo <you@here.example>", "<you@here.example>"),
            ("-f <> x", "From: \"Me, Myself\" <me@here.example>", "<>"),
            ("-F Jörg x", "From: =?utf-8?Q?J=C3=B6rg?= <me@here.example>", "<me@here.example>"),
        ]
        for (line, field, path) in table {
            let (envelope, text) = try self.envelope(line, "Date: b\nMessage-ID: c\n\n")
            #expect(text.contains("\n\(field)\n"), "\(line): \(text)")
            #expect("\(envelope.reversePath)" == path)
        }
    }

    @Test("what the sender asks of reports goes along")
    func reports() throws {
        let (asked, _) = try envelope("-N success,Delay -R HDRS -V one x", "\n")
        #expect(asked.recipients.map(\.notify) == [[.success, .delay]])
        #expect(asked.parameters.returnContent == .headers)
        #expect(asked.parameters.envelopeID == Array("one".utf8))
        #expect(!asked.parameters.smtputf8)
        #expect(try envelope("x", "Subject: ä\n\n").envelope.parameters.smtputf8)
        #expect(try envelope("ä@b.example", "\n").envelope.parameters.smtputf8)
        #expect(try !envelope("x", "Subject: x\n\nä\n").envelope.parameters.smtputf8)
    }

    @Test(
        "an envelope that can't be is refused with its status",
        arguments: [
            ("", "To: a\n", elemta.ExitStatus.usage), ("-t", "Subject: x\n", .dataError),
            ("-t", "To: a b\n", .dataError), ("-f a,b x", "\n", .usage), ("-f (x x", "\n", .usage),
            ("<x", "\n", .usage), ("-N never,success x", "\n", .usage), ("-N ever x", "\n", .usage),
            ("-R some x", "\n", .usage),
        ])
    func refusals(line: String, text: String, status: elemta.ExitStatus) throws {
        let failure = #expect(throws: SendmailEnvelope.Failure.self) {
            try envelope(line, text)
        }
        #expect(failure?.status == status)
    }
}
