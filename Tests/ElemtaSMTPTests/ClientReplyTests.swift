import ElemtaSMTP
import Testing

struct ClientReplyTests {
    /// Feeds the greeting octet by octet; what the session asks for then.
    private func greet(with octets: [UInt8]) -> (failure: ClientFailure?, reply: RemoteReply?) {
        var session = ClientSession(heloName: [0x61])
        for octet in octets {
            let (consumed, action) = session.next(in: [octet].span)
            #expect(consumed == 1)
            switch action {
            case .none: continue
            case .close(let failure): return (failure, session.greeting)
            case .send, .ready, .startTLS, .sendContent, .ended: return (nil, session.greeting)
            }
        }
        return (nil, nil)
    }

    struct Row: Sendable {
        let octets: [UInt8]
        let code: UInt16
        let enhanced: String?
        let text: String

        init(_ octets: String, _ code: UInt16, _ enhanced: String?, _ text: String) {
            self.octets = Array(octets.utf8)
            self.code = code
            self.enhanced = enhanced
            self.text = text
        }
    }

    static let replies: [Row] = [
        Row("220 hello\r\n", 220, nil, "hello"),
        Row("220\r\n", 220, nil, ""),
        Row("220 \r\n", 220, nil, ""),
        Row("220 bare\n", 220, nil, "bare"),
        Row("220-a\r\n220-\r\n220 c\r\n", 220, nil, "a\n\nc"),
        Row("220-a\r\n220\r\n", 220, nil, "a\n"),
        Row("554 5.7.1 no\r\n", 554, "5.7.1", "5.7.1 no"),
        Row("554 5.7.1\r\n", 554, "5.7.1", "5.7.1"),
        Row("554-5.7.510 no\r\n554 5.7.510 way\r\n", 554, "5.7.510", "5.7.510 no\n5.7.510 way"),
        Row("554 4.7.1 class of another code\r\n", 554, nil, "4.7.1 class of another code"),
        Row("554 5.7 short\r\n", 554, nil, "5.7 short"),
        Row("554 5.7.1234 long\r\n", 554, nil, "5.7.1234 long"),
        Row("554 5.7.1x\r\n", 554, nil, "5.7.1x"),
        Row("554 a\u{7}\u{1b}[1mb\rc\r\n", 554, nil, "a??[1mb?c"),
        Row("554 grüß\r\n", 554, nil, "grüß"),
    ]

    @Test("A reply is put together from its lines", arguments: replies)
    func reply(row: Row) throws {
        let reply = try #require(greet(with: row.octets).reply)
        #expect(reply.code == row.code)
        #expect(reply.enhanced?.description == row.enhanced)
        #expect(reply.text == Array(row.text.utf8))
    }

    @Test(
        "What is no reply ends the connection",
        arguments: [
            ("\r\n", ReplyError.malformed), ("22\r\n", .malformed), ("22x hello\r\n", .malformed),
            ("120 hello\r\n", .malformed), ("600 hello\r\n", .malformed),
            ("220_hello\r\n", .malformed), ("2200 hello\r\n", .malformed),
            ("220 a\0b\r\n", .malformed), ("220-a\r\n221 b\r\n", .codesDiffer),
            ("\u{16}\u{3}\u{1}\r\n", .malformed),
        ])
    func garbage(text: String, error: ReplyError) {
        #expect(greet(with: Array(text.utf8)).failure == .protocolError(error, .greeting))
    }

    @Test func aLineOfTenMegabytesIsGivenUpEarly() {
        var session = ClientSession(heloName: [0x61])
        let piece = Array("220 ".utf8) + Array(repeating: UInt8(ascii: "x"), count: 10_000_000)
        let (consumed, action) = session.next(in: piece.span)
        #expect(consumed < 4_096)
        guard case .close(.protocolError(.lineTooLong, .greeting)?) = action else {
            Issue.record("\(action)")
            return
        }
    }

    @Test func anEndlessReplyIsGivenUpEarly() {
        var session = ClientSession(heloName: [0x61])
        let line = Array("220-and so on\r\n".utf8)
        var octets = 0
        while octets < 1_000_000 {
            let (consumed, action) = session.next(in: line.span)
            octets += consumed
            guard case .close(let failure) = action else { continue }
            #expect(failure == .protocolError(.replyTooLong, .greeting))
            #expect(octets < 20_000)
            return
        }
        Issue.record("still listening")
    }

    @Test(
        "SIZE is read as RFC 1870 has it",
        arguments: [
            ("250 mx", ServerExtensions.SizeLimit.notOffered), ("250-mx\n250 SIZE", .unlimited),
            ("250-mx\n250 SIZE 0", .unlimited), ("250-mx\n250 size 12", .octets(12)),
            ("250-mx\n250 SIZE 99999999999999999999999", .unlimited),
            ("250-mx\n250 SIZE x", .unlimited),
        ])
    func sizeLimit(reply: String, limit: ServerExtensions.SizeLimit) {
        var session = ClientSession(heloName: [0x61])
        _ = session.next(in: Array("220 hi\r\n".utf8).span)
        let lines = reply.split(separator: "\n").map { $0 + "\r\n" }.joined()
        _ = session.next(in: Array(lines.utf8).span)
        let isReady = session.isReady
        #expect(isReady)
        let size = session.extensions.size
        #expect(size == limit)
    }
}
