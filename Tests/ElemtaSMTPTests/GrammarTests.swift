import Testing

@testable import ElemtaSMTP

@Suite struct MailboxTests {
    private static let valid: [(String, localPart: String, domain: String)] = [
        ("a@b", "a", "b"),
        ("first.last+tag@Example.COM", "first.last+tag", "example.com"),
        ("!#$%&'*+-/=?^_`{|}~@b.c", "!#$%&'*+-/=?^_`{|}~", "b.c"),
        ("\"\"@b.c", "\"\"", "b.c"),
        ("\"a b\"@b.c", "\"a b\"", "b.c"),
        ("\"a@b\"@b.c", "\"a@b\"", "b.c"),
        ("\"a\\\"b\\\\\"@b.c", "\"a\\\"b\\\\\"", "b.c"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[IPv6:2001:DB8:0::1]", "a", "[IPv6:2001:db8::1]"),
        ("a@[ipv6:::ffff:192.0.2.1]", "a", "[IPv6:::ffff:192.0.2.1]"),
        ("a@1.2.3.4", "a", "1.2.3.4"),
        ("a@b-c.d--e.f", "a", "b-c.d--e.f"),
        ("用户@例え.jp", "用户", "例え.jp"),
        ("\"é é\"@BÜCHER.example", "\"é é\"", "bücher.example"),
        (String(repeating: "a", count: 300) + "@b.c", String(repeating: "a", count: 300), "b.c"),
        ("a@\(String(repeating: "b", count: 63)).c", "a", String(repeating: "b", count: 63) + ".c"),
    ]

    private static let invalid: [String] = [
        "", "a", "@", "a@", "@b", "a@b@c", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b.", "a@.b",
        "a@b..c", "a@-b", "a@b-", "a@b_c", "a@b c", "a,b@c", "a:b@c", "(a)@b", "a@b(c)",
        "\"a@b.c", "\"a\"b@c", "a\"b\"@c", "\"a\\\"@b.c", "\"a\rb\"@c", "\"\\\n\"@c", "a\0@b",
        "a\u{7F}@b", "a@[192.0.2]", "a@[192.0.2.256]", "a@[192.0.2.01]", "a@[192.0.2.1", "a@[]",
        "a@[2001:db8::1]", "a@[IPv6:]", "a@[IPv6:1::2::3]", "a@[IPv6:1:2:3:4:5:6:7]",
        "a@[X-tag:content]", "a@b.c ", " a@b.c", "<a@b.c>", "@r:a@b.c",
        "a@\(String(repeating: "b", count: 64)).c",
        "a@" + Array(repeating: "abcdefg", count: 33).joined(separator: "."), "a@b\u{85}c",
    ]

    @Test func mailboxesAreReadAsWritten() {
        for (text, localPart, domain) in Self.valid {
            let mailbox = Mailbox(text)
            #expect(mailbox?.description == text)
            #expect(mailbox.map { String(decoding: $0.localPart, as: UTF8.self) } == localPart)
            #expect(mailbox?.domain.description == domain)
        }
    }

    @Test func whatIsNoMailboxIsRefused() {
        for text in Self.invalid { #expect(Mailbox(text) == nil, "\(text.debugDescription)") }
    }

    @Test func malformedUTF8IsRefused() {
        let sequences: [[UInt8]] = [
            [0x80], [0xC3], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0xFF],
        ]
        for sequence in sequences {
            let octets = sequence + Array("@b.c".utf8)
            #expect(Mailbox(octets: octets.span) == nil, "\(sequence)")
        }
    }

    @Test func aLocalPartAndADomainMakeAMailbox() throws {
        let domain = try #require(Domain("Example.com"))
        #expect(Mailbox(localPart: "a".utf8, domain: domain)?.description == "a@example.com")
        #expect(Mailbox(localPart: "a b".utf8, domain: domain) == nil)
    }
}

@Suite struct DomainTests {
    @Test func domainsAreComparedInOneForm() {
        #expect(Domain("EXAMPLE.com") == Domain("example.COM"))
        #expect(Domain("BÜCHER.example") == Domain("bücher.example"))
        #expect(Domain("[IPv6:2001:DB8::0:1]") == Domain("[ipv6:2001:db8::1]"))
        #expect(Domain("[192.0.2.1]")?.addressLiteral == IPAddress("192.0.2.1"))
        #expect(Domain("example.com")?.addressLiteral == nil)
    }

    @Test func subdomainsLieStrictlyBelow() throws {
        let parent = try #require(Domain("example.com"))
        let table = [
            ("a.example.com", true), ("a.b.EXAMPLE.com", true), ("example.com", false),
            ("badexample.com", false), ("com", false), ("example.com.evil", false),
        ]
        for (text, isBelow) in table {
            #expect(try #require(Domain(text)).isSubdomain(of: parent) == isBelow, "\(text)")
        }
    }

    @Test func whatIsNoDomainIsRefused() {
        for text in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "[", "[]", "[1.2.3]"] {
            #expect(Domain(text) == nil, "\(text)")
        }
    }
}

@Suite struct CommandGrammarTests {
    @Test func everyVerbIsItsLetters() {
        let names = [
            "HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "HELP", "VRFY",
            "EXPN", "QUIT", "AUTH", "ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML", "BURL",
            "LHLO", "STARTTLS", "XDEBUG", "XCLIENT",
        ]
        var seen: Set<UInt64> = []
        for name in names {
            let octets = Array(name.lowercased().utf8)
            let found = Verb.first(of: octets.span)
            #expect(found?.end == name.utf8.count, "\(name)")
            if let verb = found?.verb { seen.insert(verb.rawValue) }
        }
        #expect(seen.count == names.count)
    }

    private func bdat(_ text: String) -> Grammar.ChunkCommand {
        let octets = Array(text.utf8)
        return Grammar.bdat(octets.span, 4)
    }

    @Test func chunkSizesAreNumbersUpTo2To63() {
        let table: [(String, Grammar.ChunkCommand)] = [
            ("BDAT 0", .chunk(size: 0, isLast: false)),
            ("BDAT 1000 LAST", .chunk(size: 1000, isLast: true)),
            ("BDAT 007 last", .chunk(size: 7, isLast: true)),
            ("BDAT 9223372036854775808", .chunk(size: 1 << 63, isLast: false)),
            ("BDAT 9223372036854775809", .unknownSize),
            ("BDAT 99999999999999999999999", .unknownSize),
            ("BDAT", .unknownSize), ("BDAT LAST", .unknownSize), ("BDAT -1", .unknownSize),
            ("BDAT +1", .unknownSize), ("BDAT 0x10", .unknownSize), ("BDAT 1.5", .unknownSize),
            ("BDAT  1", .unknownSize), ("BDAT 1LAST", .unknownSize),
            ("BDAT 5 LASTING", .malformed(size: 5)), ("BDAT 5 LAST x", .malformed(size: 5)),
            ("BDAT 5 6", .malformed(size: 5)), ("BDAT 5  LAST", .malformed(size: 5)),
        ]
        for (text, expected) in table { #expect(bdat(text) == expected, "\(text)") }
    }

    private func mail(_ text: String) -> (path: ReversePath, parameters: MailParameters)? {
        let octets = Array("MAIL FROM:\(text)".utf8)
        guard case .value(let value) = Grammar.mail(octets.span, 4, isExtended: true)
        else { return nil }
        return value
    }

    private func rcpt(_ text: String, smtputf8: Bool = false) -> AcceptedRecipient? {
        let octets = Array("RCPT TO:\(text)".utf8)
        let parsed = Grammar.rcpt(octets.span, 4, isExtended: true, smtputf8: smtputf8)
        guard case .value(let value) = parsed else { return nil }
        return value
    }

    @Test func mailParametersAreRead() {
        let found = mail(
            " <a@b.c> SIZE=12 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2Bb+3D+20c")
        #expect(found?.path == Mailbox("a@b.c").map { .mailbox($0) })
        #expect(
            found?.parameters
                == MailParameters(
                    declaredSize: 12, bodyType: .eightBitMIME, smtputf8: true,
                    returnContent: .full, envelopeID: Array("a+b= c".utf8)))
        #expect(mail("<>")?.path == .null)
        #expect(mail("<>")?.parameters == MailParameters())
        #expect(mail("<a@b.c> SIZE=18446744073709551616")?.parameters.declaredSize == .max)
        #expect(mail("<a@b.c> BODY=7bit")?.parameters.bodyType == .sevenBit)
        #expect(mail("<a@b.c> ENVID=\(String(repeating: "x", count: 100))") != nil)
    }

    @Test func badMailParametersAreRefused() {
        for text in [
            "SIZE=123456789012345678901", "SIZE=-1", "BODY", "RET", "ENVID", "ENVID=+2b",
            "ENVID=+2", "ENVID=a=b", "ENVID=+0D+0A", "ENVID=+C3+A9", "ENVID=é", "=x", "-A=x",
            "SMTPUTF8 SMTPUTF8", "BODY=7BIT BODY=7BIT", "RET=FULL RET=HDRS", "ENVID=a ENVID=b",
            "ENVID=\(String(repeating: "x", count: 101))",
        ] {
            #expect(mail("<a@b.c> \(text)") == nil, "\(text)")
        }
    }

    @Test func sourceRoutesAreReadAndIgnored() {
        for text in ["<@x.y:a@b.c>", "<@x.y,@z:a@b.c>", " <a@b.c>"] {
            #expect(rcpt(text)?.path == Mailbox("a@b.c").map { .mailbox($0) }, "\(text)")
        }
        for text in [
            "<@x.y>", "<@x.y:>", "<@x.y,a@b.c>", "<@:a@b.c>", "<@x.y,:a@b.c>", "  <a@b.c>",
        ] {
            #expect(rcpt(text) == nil, "\(text)")
        }
        #expect(rcpt("<pOSTmASTER>")?.path == .postmaster)
    }

    @Test func notifyIsNeverOrAListOfConditions() {
        let table: [(String, NotifyConditions?)] = [
            ("NEVER", .never), ("never", .never), ("SUCCESS", .success),
            ("SUCCESS,FAILURE,DELAY", [.success, .failure, .delay]),
            ("delay,success", [.success, .delay]), ("NEVER,DELAY", nil), ("DELAY,NEVER", nil),
            ("", nil), (",", nil), ("SUCCESS,", nil), (",SUCCESS", nil), ("ALWAYS", nil),
        ]
        for (text, conditions) in table {
            #expect(rcpt("<a@b.c> NOTIFY=\(text)")?.notify == conditions, "\(text)")
        }
        #expect(rcpt("<a@b.c>")?.notify == [])
        #expect(rcpt("<a@b.c> NOTIFY=NEVER NOTIFY=NEVER") == nil)
        #expect(NotifyConditions([.delay, .success]).parameterValue == "SUCCESS,DELAY")
    }

    @Test func originalRecipientsAreDecoded() {
        let found = rcpt("<a@b.c> ORCPT=rfc822;Bob+2B1+20x@b.c")?.originalRecipient
        #expect(found?.addressType == Array("rfc822".utf8))
        #expect(found?.address == Array("Bob+1 x@b.c".utf8))
        #expect(rcpt("<a@b.c> ORCPT=utf-8;é@b.c", smtputf8: true)?.originalRecipient != nil)
        for text in [
            "rfc822", "rfc822;", ";a@b.c", "rfc822;a+0Ab", "rfc822;a+", "utf-8;é@b.c",
            "rfc822;a@b.c ORCPT=rfc822;a@b.c", "rf(c;a",
            "rfc822;\(String(repeating: "x", count: 501))",
        ] {
            #expect(rcpt("<a@b.c> ORCPT=\(text)") == nil, "\(text)")
        }
        #expect(rcpt("<a@b.c> ORCPT=rfc822;é@b.c", smtputf8: true) == nil)
    }
}
