import Testing

@testable import ElemtaSMTP

@Suite struct ServerSessionTests {
    private static let parameters = ServerParameters(hostname: "mail.example.com")

    private func driver(_ text: String) -> SessionDriver {
        var driver = SessionDriver(parameters: Self.parameters)
        driver.feed(text.utf8)
        return driver
    }

    private static let transaction =
        "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"

    private func lastReply(_ driver: borrowing SessionDriver) -> String {
        let text = String(decoding: driver.transcript.replies, as: UTF8.self)
        return text.split(separator: "\r\n").last.map(String.init) ?? ""
    }

    @Test func anIdleSessionIsSmall() {
        #expect(MemoryLayout<ServerSession>.size <= 224)
    }

    @Test func theExpectationFollowsTheCommands() {
        var session = driver("EHLO c.example\r\n")
        #expect(session.expectation == .commandLine && session.isIdle && !session.isInTransaction)
        session.feed("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n".utf8)
        #expect(session.expectation == .commandLine && !session.isIdle && session.isInTransaction)
        session.feed("DATA\r\nhello".utf8)
        #expect(session.expectation == .mailData && session.isInTransaction)
        session.feed("\r\n.\r\n".utf8)
        #expect(session.expectation == .commandLine && session.isIdle && !session.isInTransaction)
        session.feed(
            "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 5 LAST\r\n1234".utf8)
        #expect(session.expectation == .chunk && session.isInTransaction)
        session.feed("5BDAT 5 LAST\r\n1234".utf8)
        #expect(session.expectation == .chunk && !session.isInTransaction)
        session.feed("5QUIT\r\n".utf8)
        #expect(session.expectation == .closed)
    }

    @Test func aTimeoutIsAnswered421() {
        var session = driver(Self.transaction + "DATA\r\nhalf a mess")
        session.timeOut()
        #expect(lastReply(session) == "421 4.4.2 Timeout, closing connection")
        #expect(session.transcript.isClosed && session.transcript.messages.isEmpty)
    }

    /// The spool, the back ends and the timers of delays may answer a session that is over by then.
    @Test(arguments: [
        ("", "MAIL FROM:<a@b.example>\r\n"), ("", "XCLIENT PORT=1\r\n"),
        ("", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"), ("", "AUTH PLAIN AGFsaWNlAHdyb25n\r\n"),
        ("MAIL FROM:<>\r\n", "RCPT TO:<delay-5s@d.example>\r\n"),
        ("MAIL FROM:<>\r\n", "RCPT TO:<c@d.example>\r\n"),
        ("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n", "DATA\r\n"),
        ("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", "x\r\n.\r\n"),
    ])
    func anAnswerAfterTheEndIsDropped(before: String, last: String) {
        var offer = ServerOffer()
        offer.mechanisms = [.plain]
        offer.isDevelopment = true
        var session = SessionDriver(
            parameters: ServerParameters(hostname: "mail.example.com", offer: offer),
            mayUseXCLIENT: true)
        session.feed(("HELO c.example\r\n" + before).utf8)
        session.answerFromNowOnLate()
        session.feed((last + "NOOP\r\n").utf8)
        #expect(session.expectation == .answer)
        session.outlast()
        #expect(lastReply(session) == "421 4.4.2 Session lasted too long, closing connection")
        let said = session.transcript.replies
        session.answerLate()
        #expect(session.transcript.replies == said && session.expectation == .closed)
        #expect(session.violations == [])
    }

    /// A directory takes its time: what the client has sent behind RCPT waits for its answer.
    @Test func commandsBehindARecipientWaitForItsAnswer() {
        var session = driver("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
        let said = session.transcript.replies.count
        session.answerFromNowOnLate()
        session.feed(
            "RCPT TO:<x@unknown.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhi\r\n.\r\n".utf8)
        #expect(session.transcript.replies.count == said)
        #expect(session.expectation == .answer && session.isInTransaction)
        session.shutDown()
        #expect(!session.transcript.isClosed)
        session.answerLate()
        #expect(
            String(decoding: session.transcript.replies[said...], as: UTF8.self) == """
                550 5.1.1 No such user here\r
                250 2.1.5 OK\r
                354 Start mail input; end with <CRLF>.<CRLF>\r
                250 2.0.0 Message accepted for delivery\r

                """)
        #expect(session.transcript.messages.count == 1 && session.violations == [])
    }

    @Test func shuttingDownWaitsForTheTransaction() {
        var session = driver(Self.transaction)
        session.shutDown()
        #expect(!session.transcript.isClosed)
        session.feed("DATA\r\nx\r\n.\r\n".utf8)
        session.shutDown()
        #expect(session.transcript.isClosed && session.transcript.messages.count == 1)
        #expect(lastReply(session) == "421 4.3.2 Service shutting down")
    }

    @Test func failedContentIsReadToItsEnd() {
        var session = driver(Self.transaction + "DATA\r\nfirst\r\n")
        session.failContent(with: .insufficientStorage)
        session.feed("RSET\r\nsecond\r\n".utf8)
        #expect(session.expectation == .mailData)
        session.feed(".\r\n".utf8)
        #expect(lastReply(session) == "452 4.3.1 Insufficient system storage, try later")
        #expect(session.isIdle && session.violations == [])
        session.feed("NOOP\r\n".utf8)
        #expect(lastReply(session) == "250 2.0.0 OK")
    }

    @Test func failedChunksAreSwallowedUpToTheLast() {
        var session = driver(Self.transaction + "BDAT 10\r\n12345")
        session.failContent(with: .insufficientStorage)
        session.feed("QUIT\r\n"[...].utf8.prefix(5))
        #expect(lastReply(session) == "452 4.3.1 Insufficient system storage, try later")
        session.feed("BDAT 6 LAST\r\nQUIT\r\n".utf8)
        #expect(lastReply(session) == "452 4.3.1 Insufficient system storage, try later")
        session.feed("NOOP\r\n".utf8)
        #expect(lastReply(session) == "250 2.0.0 OK")
        #expect(session.transcript.messages.isEmpty && session.violations == [])
    }

    @Test func failureBetweenChunksIsToldAtTheNext() {
        var session = driver(Self.transaction + "BDAT 5\r\n12345")
        #expect(lastReply(session) == "250 2.0.0 5 octets received")
        session.failContent(with: .insufficientStorage)
        session.feed("BDAT 6 LAST\r\nQUIT\r\n".utf8)
        #expect(lastReply(session) == "452 4.3.1 Insufficient system storage, try later")
        #expect(session.transcript.messages.isEmpty)
    }

    @Test func failureWithoutContentChangesNothing() {
        var session = driver(Self.transaction)
        session.failContent(with: .insufficientStorage)
        session.feed("DATA\r\n.\r\n".utf8)
        #expect(session.transcript.messages.count == 1)
    }

    @Test(arguments: [".", "\u{1}", "NOOP ", "\r"])
    func aLineOfTenMebioctetsCostsOneReply(filler: String) {
        var session = driver("")
        let before = session.transcript.replies.count
        let piece = Array(String(repeating: filler, count: 65_536 / filler.utf8.count).utf8)
        for _ in 0..<160 {
            session.feed(piece)
            #expect(session.unconsumed <= ServerSession.maximumContiguous)
        }
        session.feed("\r\nNOOP\r\n".utf8)
        #expect(
            String(decoding: session.transcript.replies[before...], as: UTF8.self)
                == "500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n")
    }

    @Test func aLongChunkLineCloses() {
        let session = driver("BDAT 5\(String(repeating: " ", count: 600)) LAST\r\n12345")
        #expect(lastReply(session) == "421 4.5.1 Invalid BDAT size, closing connection")
        #expect(session.transcript.isClosed)
    }

    @Test func theProtocolNameFollowsTheGreeting() throws {
        var session = ServerSession(
            parameters: Self.parameters, client: ClientIdentity(address: IPAddress(v4: 0)))
        var transaction = MailTransaction(reversePath: .null)
        for (line, name, isExtended) in [
            ("HELO a.example\r\n", "SMTP", false), ("EHLO b.example\r\n", "ESMTP", true),
        ] {
            let octets = Array(line.utf8)
            _ = session.next(in: octets.span)
            #expect(session.protocolName(for: transaction) == name)
            #expect(session.isExtended == isExtended)
        }
        #expect(session.heloName == Array("b.example".utf8))
        transaction.parameters.smtputf8 = true
        #expect(session.protocolName(for: transaction) == "UTF8SMTP")
    }

    @Test func theMessageIdFollowsInTheReply() {
        #expect(
            String(decoding: Reply.messageAccepted(id: Array("01ABC".utf8)).octets, as: UTF8.self)
                == "250 2.0.0 Message accepted for delivery 01ABC\r\n")
    }

    @Test func aVerdictWithoutAQuestionChangesNothing() {
        var session = ServerSession(
            parameters: Self.parameters, client: ClientIdentity(address: IPAddress(v4: 0)))
        guard case .none = session.resume(with: .accept) else {
            Issue.record("an action without a question")
            return
        }
        #expect(session.expectation == .commandLine)
    }

    @Test func anExemptClientMaySendBareLineFeeds() {
        var session = ServerSession(
            parameters: Self.parameters, client: ClientIdentity(address: IPAddress(v4: 0)),
            bareNewlineExempt: true)
        let octets = Array("NOOP\n".utf8)
        guard case .act(.reply(let reply), 5) = session.next(in: octets.span) else {
            Issue.record("a line is a line")
            return
        }
        #expect(reply == .ok)
    }

    @Test func longNamesLeaveTheEHLOLineWithinItsLimit() {
        let name = Array(repeating: "abcdefg", count: 31).joined(separator: ".")
        let parameters = ServerParameters(hostname: name + ".example")
        let reply = parameters.ehloReply(to: Array((name + ".client").utf8))
        #expect(SessionDriver.isWellFormed(reply))
        let longer = ServerParameters(hostname: name + "." + name)
        #expect(SessionDriver.isWellFormed(longer.ehloReply(to: Array(name.utf8))))
    }
}
