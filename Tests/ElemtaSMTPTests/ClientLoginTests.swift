import Testing

@testable import ElemtaSMTP

/// AUTH on the client's side.
struct ClientLoginTests {
    private static let greeting = "220 mx.example.com ESMTP"
    private static let offersNothing = ClientDialogue.offersNothing
    private static let delivered = ["250 ok", "250 ok", "354 go", "250 done"]

    private func login(
        _ user: String = "me", _ password: String = "open sesame", inClear: Bool = true
    ) throws -> ClientLogin {
        ClientLogin(
            try #require(SASLCredentials(user: user, password: Array(password.utf8))),
            isAllowedInClear: inClear)
    }

    private func play(
        _ replies: [String], _ login: ClientLogin, tls: ClientTLSPolicy = .off
    ) -> ClientDialogue.Record {
        let dialogue = ClientDialogue(
            replies: [Self.greeting] + replies, transactions: [.message()], tls: tls, login: login)
        let whole = dialogue.play()
        #expect(dialogue.play(piece: 1) == whole)
        return whole
    }

    @Test(
        "PLAIN comes before LOGIN, and the password in base 64",
        arguments: [
            ("AUTH PLAIN LOGIN", ["235 in"], ["AUTH PLAIN AG1lAG9wZW4gc2VzYW1l"]),
            ("AUTH LOGIN PLAIN", ["235 in"], ["AUTH PLAIN AG1lAG9wZW4gc2VzYW1l"]),
            ("auth cram-md5 plain", ["235 in"], ["AUTH PLAIN AG1lAG9wZW4gc2VzYW1l"]),
            (
                "AUTH LOGIN", ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 in"],
                ["AUTH LOGIN", "bWU=", "b3BlbiBzZXNhbWU="]
            ),
        ])
    func mechanisms(offer: String, replies: [String], commands: [String]) throws {
        let record = play(
            ["250-mx.example.com\n250 \(offer)"] + replies + Self.delivered, try login())
        #expect(record.outcomes == ["accepted 250 done"])
        let lines = record.sent.split(separator: "\n").map(String.init)
        #expect(
            lines.starts(
                with: ["EHLO client.example.com"] + commands + ["MAIL FROM:<sender@example.org>"]))
    }

    @Test func aLongPasswordWaitsForItsChallenge() throws {
        let record = play(
            ["250-mx\n250 AUTH PLAIN", "334 ", "235 in"] + Self.delivered,
            try login("me", String(repeating: "x", count: 400)))
        #expect(record.outcomes == ["accepted 250 done"])
        let lines = record.sent.split(separator: "\n")
        #expect(lines[1] == "AUTH PLAIN")
        #expect(lines[2].utf8.count == 540)
    }

    @Test(
        "Whoever isn't logged in sends nothing, and no message fails for it",
        arguments: [
            (["250 mx"], "closed: login: noMechanism"),
            (["250-mx\n250 AUTH GSSAPI"], "closed: login: noMechanism"),
            (["502 what", "250 hi"], "closed: login: noMechanism"),
            (["250-mx\n250 AUTH PLAIN", "535 5.7.8 no"], "closed: login refused: 535 5.7.8 no"),
            (
                ["250-mx\n250 AUTH PLAIN", "454 4.7.0 later"],
                "closed: login refused: 454 4.7.0 later"
            ),
            (["250-mx\n250 AUTH PLAIN", "421 bye"], "closed: login refused: 421 bye"),
            (["250-mx\n250 AUTH PLAIN", "334 again"], "closed: outOfSequence(334) at login"),
            (["250-mx\n250 AUTH PLAIN", "354 go"], "closed: outOfSequence(354) at login"),
            (["250-mx\n250 AUTH PLAIN", ClientDialogue.silence], "closed: timed out at login"),
            (["250-mx\n250 AUTH PLAIN", ClientDialogue.lost], "closed: lost at login"),
            (["250-mx\n250 AUTH LOGIN", "334 x", "535 who?"], "closed: login refused: 535 who?"),
        ])
    func refusals(replies: [String], outcome: String) throws {
        let record = play(replies, try login())
        #expect(record.outcomes == [outcome])
        #expect(!record.sent.contains("MAIL"))
        let reply = RemoteReply(code: 535, enhanced: nil, text: [])
        #expect(!ClientFailure.login(.refused(reply)).isPermanent)
    }

    @Test func inClearThePasswordIsSentOnlyWhereItMayBe() throws {
        let offer = "250-mx\n250 AUTH PLAIN"
        for policy in [ClientTLSPolicy.off, .opportunistic] {
            let record = play([offer], try login(inClear: false), tls: policy)
            #expect(record.outcomes == ["closed: login: needsTLS"])
            #expect(!record.sent.contains("AUTH"))
        }
        let inside = play(
            ["250-mx\n250 STARTTLS", "220 go"]
                + [ClientDialogue.unverified, offer, "235 in"] + Self.delivered,
            try login(inClear: false), tls: .opportunistic)
        #expect(inside.outcomes == ["accepted 250 done"])
    }

    @Test func authOfferedInClearIsForgottenInsideTLS() throws {
        let record = play(
            ["250-mx\n250-AUTH PLAIN\n250 STARTTLS", "220 go"]
                + [ClientDialogue.unverified, Self.offersNothing],
            try login(), tls: .opportunistic)
        #expect(record.outcomes == ["closed: login: noMechanism"])
    }

    @Test(
        "A server that quotes what it was sent doesn't bring it into a log",
        arguments: [
            "AUTH PLAIN AG1lAG9wZW4gc2VzYW1l", "AG1lAG9wZW4", "open sesame", "b3BlbiBzZXNhbWU=",
            "xx pen sesa xx",
        ])
    func quotations(words: String) throws {
        let record = play(["250-mx\n250 AUTH PLAIN", "500 5.5.1 what? \(words)"], try login())
        #expect(
            record.outcomes == [
                "closed: login refused: 500 (the server's words repeat what it was sent)"
            ])
    }

    @Test(
        "What no mechanism can carry is no login",
        arguments: [("", "x"), ("me", ""), ("m\0e", "x"), ("me", "a\0b"), ("m\ne", "x")])
    func impossible(user: String, password: String) {
        #expect(SASLCredentials(user: user, password: Array(password.utf8)) == nil)
    }

    @Test func credentialsPrintNothing() throws {
        let login = try login("me", "open sesame")
        var dumped = ""
        dump(login, to: &dumped)
        #expect(!"\(login) \(dumped)".contains("sesame"))
    }

    @Test func base64ComesBack() throws {
        for count in 0...20 {
            let octets = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 97 &+ 251) }
            #expect(Base64.decode(Base64.encode(octets).span) == octets)
        }
        #expect(
            String(decoding: Base64.encode([0, 0xFF, 0x10, 0x83]), as: UTF8.self) == "AP8Qgw==")
    }
}
