import Testing

@testable import ElemtaSMTP

@Suite struct Base64Tests {
    /// RFC 4648 10, and every octet there is.
    @Test func octetsHaveOneSpelling() {
        let table: [(String, [UInt8])] = [
            ("", []), ("Zg==", Array("f".utf8)), ("Zm8=", Array("fo".utf8)),
            ("Zm9v", Array("foo".utf8)), ("Zm9vYg==", Array("foob".utf8)),
            ("Zm9vYmE=", Array("fooba".utf8)), ("Zm9vYmFy", Array("foobar".utf8)),
            ("+/+/", [0xFB, 0xFF, 0xBF]), ("AAAA", [0, 0, 0]), ("/w==", [255]),
        ]
        for (text, octets) in table {
            let input = Array(text.utf8)
            #expect(Base64.decode(input.span) == octets, "\(text)")
        }
    }

    @Test func everythingElseIsRefused() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "=", "==", "====", "Zm9vZ", "Zh==", "Zm9=", "Z===",
            "Zg==Zg==", "Zm=v", "Zm9v ", " Zm9v", "Zm9v\n", "Zm 9v", "Zm-_", "Zm9*", "Zm9\0",
            "Zm9é",
        ] {
            let input = Array(text.utf8)
            #expect(Base64.decode(input.span) == nil, "\(text.debugDescription)")
        }
    }
}

@Suite struct CredentialsTests {
    private func credentials(_ user: [UInt8], _ password: String) -> SASLCredentials? {
        let message = Array(password.utf8)
        return SASLCredentials(user: user, message: message, password: message.indices)
    }

    @Test func theyAreLentAndNeverPrinted() throws {
        let found = try #require(credentials(Array("alice".utf8), "hunter2"))
        #expect(found.user == "alice")
        let lent = found.withPassword { password in password.octets(0..<password.count) }
        #expect(lent == Array("hunter2".utf8))
        var dumped = ""
        dump(found, to: &dumped)
        dump(Question.authenticate(found), to: &dumped)
        let question = Question.authenticate(found)
        for text in ["\(found)", String(reflecting: found), dumped, "\(question)"] {
            #expect(!text.contains("hunter2") && !text.contains("104"), "\(text)")
        }
    }

    @Test func whatCannotBeRightReachesNobody() {
        let table: [([UInt8], String)] = [
            ([], "secret"), (Array("alice".utf8), ""), ([0xFF, 0xFE], "secret"),
            (Array("alice".utf8), "secret\0"), (Array("alice".utf8), "\0secret"),
            (Array("al\nice".utf8), "secret"), (Array("al\u{7F}ice".utf8), "secret"),
        ]
        for (user, password) in table { #expect(credentials(user, password) == nil, "\(user)") }
        #expect(credentials(Array("алиса".utf8), "secret")?.user == "алиса")
    }
}

/// What a driver says out of its turn, and what no dialogue can show.
@Suite struct SecuritySessionTests {
    private static let transaction =
        "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"

    private static let login = "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"

    private static func parameters(_ change: (inout ServerOffer) -> Void) -> ServerParameters {
        var offer = ServerOffer()
        change(&offer)
        return ServerParameters(hostname: "mail.example.com", offer: offer)
    }

    private func session(_ change: (inout ServerOffer) -> Void) -> ServerSession {
        ServerSession(
            parameters: Self.parameters(change), client: ClientIdentity(address: IPAddress(v4: 1)))
    }

    private func perform(_ text: String, _ session: inout ServerSession) -> Action? {
        let octets = Array(text.utf8)
        guard case .act(let action, octets.count) = session.next(in: octets.span)
        else { return nil }
        return action
    }

    private func lastReply(_ driver: borrowing SessionDriver) -> String {
        let text = String(decoding: driver.transcript.replies, as: UTF8.self)
        return text.split(separator: "\r\n").last.map(String.init) ?? ""
    }

    /// Else its failure would be in no log, and would count for no address.
    @Test func whatCannotBeRightIsToldToTheDriver() {
        let table: [(String, String?)] = [
            // In base 64: an empty user, a name with LF, an empty password, one with NUL by LOGIN.
            ("AUTH PLAIN AABzZWNyZXQ=\r\n", nil),
            ("AUTH PLAIN AGFsCmljZQBzZWNyZXQ=\r\n", nil),
            ("AUTH PLAIN AGFsaWNlAA==\r\n", nil),
            ("AUTH LOGIN YWwKaWNl\r\nc2VjcmV0\r\n", nil),
            ("AUTH LOGIN YWxpY2U=\r\nc2UAcmV0\r\n", nil),
            // Alice, with the right password, for Bob.
            ("AUTH PLAIN Ym9iAGFsaWNlAHNlY3JldA==\r\n", "alice"),
        ]
        for (text, user) in table {
            var driver = SessionDriver(
                parameters: Self.parameters { $0.mechanisms = [.plain, .login] }, policy: Policy())
            driver.feed(Array(("EHLO c.example\r\n" + text).utf8))
            #expect(driver.transcript.impossibleLogins == [user], "\(text)")
            #expect(driver.transcript.delays == [1], "\(text)")
            #expect(lastReply(driver).hasPrefix("535 5.7.8"), "\(text)")
        }
    }

    /// CVE-2011-0411: what came in clear text with STARTTLS is never executed, however it was cut.
    @Test func octetsBehindStartTLSAreNeverExecuted() {
        let injected = Self.transaction + "STARTTLS\r\n" + "RSET\r\n" + Self.transaction
        let octets = Array(("EHLO c.example\r\nSTARTTLS\r\n" + Self.transaction).utf8)
        for length in [1, 7, 26, 27, 1000] {
            var driver = SessionDriver(
                parameters: Self.parameters { $0.tls = .startTLS },
                policy: Policy(handshake: .checked), segmentLength: length)
            driver.feed(octets)
            #expect(
                lastReply(driver)
                    == "554 5.5.1 Nothing may follow STARTTLS before the handshake", "\(length)")
            #expect(driver.transcript.isClosed && driver.violations == [])
            let text = String(decoding: driver.transcript.replies, as: UTF8.self)
            #expect(!text.contains("Ready to start TLS"))
        }
        var driver = SessionDriver(
            parameters: Self.parameters { $0.tls = .startTLS },
            policy: Policy(handshake: .checked))
        driver.feed(injected.utf8)
        // In a transaction STARTTLS is refused, and what follows it is in its place.
        #expect(lastReply(driver).hasPrefix("250 2.1.5"))
    }

    @Test func nothingIsReadDuringTheHandshake() {
        var machine = session { $0.tls = .startTLS }
        guard case .startTLS? = perform("STARTTLS\r\n", &machine) else {
            Issue.record("no STARTTLS")
            return
        }
        let octets = Array("NOOP\r\n".utf8)
        guard machine.expectation == .handshake, case .needMore = machine.next(in: octets.span)
        else {
            Issue.record("octets of the handshake were read")
            return
        }
        guard case .close(nil)? = machine.shuttingDown(), machine.expectation == .closed else {
            Issue.record("a handshake is cut off without a word")
            return
        }
    }

    @Test func anImplicitSessionBeginsWithTheHandshake() {
        var machine = session { $0.tls = .implicit }
        #expect(machine.expectation == .handshake && machine.tls == nil)
        machine.tlsEstablished(SessionDriver.tls)
        #expect(machine.expectation == .commandLine && machine.tls === SessionDriver.tls)
        var late = session { $0.tls = .implicit }
        guard case .close(nil) = late.timedOut() else {
            Issue.record("a reply in the middle of a handshake")
            return
        }
    }

    @Test func aDriverOutOfTurnChangesNothing() {
        var machine = session { $0.mechanisms = [.plain] }
        machine.tlsEstablished(SessionDriver.tls)
        let user = AuthenticatedUser(name: "mallory")
        guard case .none = machine.resume(with: .accepted(user)), case .none = machine.delayEnded(),
            case .none = machine.refuseTLS(.octetsWaiting)
        else {
            Issue.record("an action without a question")
            return
        }
        #expect(machine.tls == nil && machine.user == nil && machine.expectation == .commandLine)
    }

    /// A verdict of the wrong kind logs nobody in.
    @Test func onlyAnOutcomeLogsIn() {
        let mallory = AuthenticatedUser(name: "mallory")
        let verdicts: [Verdict] = [
            .accept, .accepted(id: []), .admit(mallory, bareNewlineExempt: true),
        ]
        for verdict in verdicts {
            var machine = session { $0.mechanisms = [.plain] }
            _ = perform("HELO c.example\r\n", &machine)
            guard case .ask(.authenticate)? = perform(Self.login, &machine),
                case .reply(let reply) = machine.resume(with: verdict)
            else {
                Issue.record("no question")
                return
            }
            #expect(reply.code == 454 && machine.user == nil)
        }
    }

    @Test func theServerStopsWhileALoginIsHeldBack() {
        var machine = session { $0.mechanisms = [.plain] }
        _ = perform("HELO c.example\r\n", &machine)
        guard case .ask(.authenticate)? = perform(Self.login, &machine),
            machine.shuttingDown() == nil,
            case .delay(seconds: 1) = machine.resume(with: .rejected()),
            machine.expectation == .answer, case .close? = machine.shuttingDown()
        else {
            Issue.record("held back")
            return
        }
        guard case .none = machine.delayEnded() else {
            Issue.record("the timer of a session that is over")
            return
        }
    }

    @Test func theProtocolNameSaysTLSAndLogin() {
        let login = Self.login
        let table: [(lines: String, smtputf8: Bool, name: String)] = [
            ("HELO c.example\r\n", false, "SMTP"), ("EHLO c.example\r\n", false, "ESMTP"),
            ("EHLO c.example\r\n" + login, false, "ESMTPA"),
            ("STARTTLS\r\nEHLO c.example\r\n", false, "ESMTPS"),
            ("STARTTLS\r\nHELO c.example\r\n", false, "SMTP"),
            ("STARTTLS\r\nEHLO c.example\r\n" + login, false, "ESMTPSA"),
            ("EHLO c.example\r\n", true, "UTF8SMTP"),
            ("EHLO c.example\r\n" + login, true, "UTF8SMTPA"),
            ("STARTTLS\r\nEHLO c.example\r\n", true, "UTF8SMTPS"),
            ("STARTTLS\r\nEHLO c.example\r\n" + login, true, "UTF8SMTPSA"),
        ]
        for (lines, smtputf8, name) in table {
            var driver = SessionDriver(
                parameters: Self.parameters {
                    $0.tls = .startTLS
                    $0.mechanisms = [.plain]
                })
            driver.feed(lines.utf8)
            let transaction = MailTransaction(
                reversePath: .null, parameters: MailParameters(smtputf8: smtputf8))
            #expect(driver.protocolName(for: transaction) == name, "\(lines)")
        }
    }

    @Test(arguments: [true, false])
    func aSubmitterIsBelievedAfterALogin(isLoggedIn: Bool) {
        let submitter = isLoggedIn ? Array("e=mc2@example.com".utf8) : nil
        var driver = SessionDriver(parameters: Self.parameters { $0.mechanisms = [.plain] })
        driver.feed("EHLO c.example\r\n".utf8)
        if isLoggedIn { driver.feed(Self.login.utf8) }
        driver.feed("MAIL FROM:<a@b.example> AUTH=e+3Dmc2@example.com\r\n".utf8)
        driver.feed("RCPT TO:<c@d.example>\r\nBDAT 0 LAST\r\n".utf8)
        #expect(driver.transcript.messages.map(\.transaction.parameters.submitter) == [submitter])
    }

    @Test func requireTLSIsKept() {
        var driver = SessionDriver(parameters: Self.parameters { $0.tls = .implicit })
        driver.feed("EHLO c.example\r\nMAIL FROM:<a@b.example> REQUIRETLS\r\n".utf8)
        driver.feed("RCPT TO:<c@d.example>\r\nBDAT 0 LAST\r\n".utf8)
        #expect(driver.transcript.messages.map(\.transaction.parameters.requireTLS) == [true])
    }

    @Test func whoSpeaksFirstOrTooLongIsSentAway() {
        var early = SessionDriver(parameters: Self.parameters { _ in })
        early.speakFirst()
        #expect(lastReply(early) == "554 5.5.1 Wait for the greeting before you speak")
        #expect(early.transcript.isClosed)
        var long = SessionDriver(parameters: Self.parameters { _ in })
        long.feed((Self.transaction + "DATA\r\nhalf").utf8)
        long.outlast()
        #expect(lastReply(long) == "421 4.4.2 Session lasted too long, closing connection")
    }
}
