import Testing

@testable import ElemtaSMTP

/// What a decoder made of its input: the content, how the data ended, and what is left behind it.
private struct Decoded: Equatable {
    var content = ""
    var refusal: UInt16?
    var hasEnded = false
    var rest = ""
}

private func decode(
    _ input: String, pieces length: Int, maximumSize: UInt64 = 1000,
    bareNewline: BareNewline = .reject
) -> Decoded {
    var decoder = DataDecoder()
    var content: [UInt8] = []
    var rest = Array(input.utf8)[...]
    var shown = min(length, rest.count)
    while !rest.isEmpty {
        let piece = Array(rest.prefix(max(shown, 1)))
        let step = decoder.next(
            in: piece.span, maximumSize: maximumSize, bareNewline: bareNewline)
        var consumed = 0
        switch step {
        case .needMore: break
        case .keep(let count):
            content += piece.prefix(count)
            consumed = count
        case .drop(let count): consumed = count
        case .lineEnd(let count):
            content += Array("\r\n".utf8)
            consumed = count
        case .refused(let count):
            content = []
            consumed = count
        case .end(let count):
            rest = rest.dropFirst(count)
            return Decoded(
                content: String(decoding: content, as: UTF8.self),
                refusal: decoder.refusal?.code, hasEnded: true,
                rest: String(decoding: rest, as: UTF8.self))
        }
        rest = rest.dropFirst(consumed)
        shown -= consumed
        if shown <= 0 { shown = min(length, rest.count) }
    }
    return Decoded(
        content: String(decoding: content, as: UTF8.self), refusal: decoder.refusal?.code)
}

@Suite struct DataDecoderTests {
    /// Input; content, code of the refusal, and what is left behind the end (nil: not ended).
    private static let rejecting: [(String, String, UInt16?, String?)] = [
        (".\r\n", "", nil, ""),
        (".\r\nQUIT\r\n", "", nil, "QUIT\r\n"),
        ("\r\n.\r\n", "\r\n", nil, ""),
        ("a\r\n.\r\n", "a\r\n", nil, ""),
        ("a\r\n..\r\n.\r\n", "a\r\n.\r\n", nil, ""),
        ("..\r\n...\r\n.a\r\n.\r\n", ".\r\n..\r\na\r\n", nil, ""),
        ("a.\r\n.\r\n", "a.\r\n", nil, ""),
        ("a\r\n.", "a\r\n", nil, nil),
        ("a\r\n.\r", "a\r\n", nil, nil),
        ("a\r", "a\r", nil, nil),
        ("a\0b\r\n.\r\n", "a\0b\r\n", nil, ""),
        // Bare LF and bare CR: refused, at the real end.
        ("a\n.\n", "", 550, nil),
        ("a\n.\r\n", "", 550, nil),
        ("a\n.\r\n.\r\n", "", 550, ""),
        ("a\r\n.\n.\r\n", "", 550, nil),
        ("a\r\n.\n\r\n.\r\n", "", 550, ""),
        ("a\r\n.\rb\r\n.\r\n", "", 550, ""),
        ("a\r\n.\r\r\n.\r\nX", "", 550, "X"),
        ("a\r.\r\n.\r\n", "", 550, ""),
        ("a\r\r\n.\r\n", "", 550, ""),
        ("\n", "", 550, nil),
        (".\n.\r\n\r\n.\r\n", "", 550, ""),
        ("a\n\r\n.\r\nX", "", 550, "X"),
    ]

    private static let normalizing: [(String, String, UInt16?, String?)] = [
        (".\r\n", "", nil, ""),
        (".\n.\r\n", "\r\n\r\n", nil, nil),
        ("a\n.\n", "a\r\n\r\n", nil, nil),
        ("a\n.\r\nb\r\n.\r\n", "a\r\n\r\nb\r\n", nil, ""),
        ("a\n..b\n\n.\r\n", "a\r\n.b\r\n\r\n\r\n", nil, nil),
        ("a\r\n.\nb\r\n.\r\n", "a\r\n\r\nb\r\n", nil, ""),
        ("a\rb\n.\r\n.\r\n", "", 550, ""),
        ("\n\r\n.\r\n", "\r\n\r\n", nil, ""),
    ]

    private static let limited: [(String, String, UInt16?, String?)] = [
        ("12345678\r\n.\r\n", "12345678\r\n", nil, ""),
        ("123456789\r\n.\r\n", "", 552, ""),
        ("..234567\r\n.\r\n", ".234567\r\n", nil, ""),
        ("..2345678\r\n.\r\n", ".2345678\r\n", nil, ""),
        ("..23456789\r\n.\r\n", "", 552, ""),
        ("12345678\r\n\n.\r\n.\r\n", "", 552, ""),
        ("1234567\n901234\r\n.\r\n", "", 550, ""),
    ]

    @Test(arguments: [1, 2, 3, 5, 100])
    func onlyCRLFDotCRLFEndsTheData(length: Int) {
        for (input, content, refusal, rest) in Self.rejecting {
            let expected = Decoded(
                content: content, refusal: refusal, hasEnded: rest != nil, rest: rest ?? "")
            #expect(decode(input, pieces: length) == expected, "\(input.debugDescription)")
        }
    }

    @Test(arguments: [1, 2, 3, 5, 100])
    func aBareLineFeedIsMadeRightWhenAsked(length: Int) {
        for (input, content, refusal, rest) in Self.normalizing {
            let expected = Decoded(
                content: content, refusal: refusal, hasEnded: rest != nil, rest: rest ?? "")
            #expect(
                decode(input, pieces: length, bareNewline: .normalize) == expected,
                "\(input.debugDescription)")
        }
    }

    @Test(arguments: [1, 2, 3, 5, 100])
    func tooLargeIsReadToItsEnd(length: Int) {
        for (input, content, refusal, rest) in Self.limited {
            let expected = Decoded(
                content: content, refusal: refusal, hasEnded: rest != nil, rest: rest ?? "")
            #expect(
                decode(input, pieces: length, maximumSize: 10) == expected,
                "\(input.debugDescription)")
        }
    }

    @Test func contentOfManyBlocksIsKeptWhole() {
        for count in [0, 1, 31, 32, 33, 63, 64, 65, 500] {
            for special in ["\r\n", "\0", "\u{E9}"] {
                let text = String(repeating: "x", count: count) + special + "y"
                #expect(decode(text + "\r\n.\r\n", pieces: 1000).content == text + "\r\n")
            }
        }
    }
}

@Suite struct ContentScanTests {
    /// Content; what is seen of it.
    private static let cases: [(String, ContentSummary.Traits, UInt64, UInt32)] = [
        ("", [], 0, 0),
        ("a\r\nbcd\r\n", [], 3, 0),
        ("a", .unfinishedLine, 1, 0),
        ("a\nbc\r\n", .bareLineFeed, 2, 0),
        ("a\rbc\r\n", .bareCarriageReturn, 4, 0),
        ("a\r", [.bareCarriageReturn, .unfinishedLine], 2, 0),
        ("a\0\r\n", .nul, 2, 0),
        ("\u{E9}\r\n", [.eightBit, .eightBitHeader], 2, 0),
        ("\r\n\u{E9}\r\n", .eightBit, 2, 0),
        ("Received: a\r\n b\r\nreceived:c\r\nReceived-SPF: d\r\n", [], 15, 2),
        ("Subject: Received: x\r\n\r\nReceived: body\r\n", [], 20, 0),
        ("Rece\0ived: a\r\n", .nul, 12, 0),
        ("X\r\n\nReceived: body\r\n", .bareLineFeed, 14, 0),
        ("TLS-Required: No\r\n", .tlsNotRequired, 16, 0),
        ("A: b\r\ntls-rEQUIRED:\t nO \r\nReceived: a\r\n\r\nx\r\n", .tlsNotRequired, 18, 1),
        ("TLS-Required:no", .unfinishedLine, 15, 0),
        ("TLS-Required: Yes\r\nTLS-Required: N\r\nTLS-Required: N o\r\n", [], 17, 0),
        ("TLS-Required: Not\r\nTLS-Required:\r\nTLS-Required : No\r\n", [], 17, 0),
        ("TLS-Required: No x\r\n TLS-Required: No\r\n", [], 18, 0),
        ("TLS-Required:\r\n No\r\n", .tlsNotRequired, 13, 0),
        ("TLS-Required: \r\n\t\r\n \tno\r\n", .tlsNotRequired, 14, 0),
        ("TLS-Required:\r\ntls-required: no\r\n", .tlsNotRequired, 16, 0),
        ("TLS-Required:\r\nReceived: a\r\nNo\r\n", [], 13, 1),
        ("TLS-Required:\r\n\r\n No\r\n", [], 13, 0),
        ("TLS-Required:\r\nNo\r\n No\r\n", [], 13, 0),
        ("\r\nTLS-Required: No\r\n", [], 16, 0),
        ("TLS-Required: No\0\r\n", .nul, 17, 0),
    ]

    @Test(arguments: [1, 2, 7, 1000])
    func chunksAreSummarizedWhereverTheyAreCut(length: Int) {
        for (text, traits, longest, received) in Self.cases {
            var scan = ContentScan()
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let piece = Array(rest.prefix(length))
                scan.chunk(piece.span, count: piece.count)
                rest = rest.dropFirst(length)
            }
            let expected = ContentSummary(
                octetCount: UInt64(text.utf8.count), traits: traits, longestLine: longest,
                receivedFieldCount: received)
            #expect(scan.finish() == expected, "\(text.debugDescription)")
        }
    }
    /// Content; the fields that its header section has, nil while that isn't over.
    private static let headers: [(String, HeaderFields?)] = [
        ("", nil), ("Date: x\r\nMessage-ID: <y>\r\n", nil),
        ("Date: x\r\nMessage-ID: <y>\r\n\r\n", [.date, .messageID]),
        ("date:x\r\n\r\nMessage-ID: <y>\r\n", .date),
        ("MESSAGE-id\t : <y>\r\nA: b\r\n Date: x\r\n\r\nx", .messageID),
        ("Dated: x\r\nX-Date: x\r\nDat e: x\r\nResent-Message-ID: x\r\n\r\n", []),
        ("TLS-Required:\r\nDate: x\r\n\r\n", .date), ("\r\nDate: x\r\n", []),
    ]

    @Test(arguments: [1, 2, 7, 1000])
    func fieldsOfTheHeaderAreKnownWhenItIsOver(length: Int) {
        for (text, fields) in Self.headers {
            var content = ChunkedContent()
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let piece = Array(rest.prefix(length))
                let isWanted = content.append(piece.span, count: piece.count)
                #expect(isWanted)
                rest = rest.dropFirst(length)
            }
            #expect(content.headerFields == fields, "\(text.debugDescription)")
        }
    }

    @Test func whatIsMissingIsAddedAndNothingElse() {
        let table: [(HeaderFields, String)] = [
            ([], "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <id1@mail.example>\r\n"),
            (.date, "Message-ID: <id1@mail.example>\r\n"),
            (.messageID, "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"), ([.date, .messageID], ""),
        ]
        for (fields, text) in table {
            let octets = SubmissionFields.octets(
                missingIn: fields, id: "id1", hostname: "mail.example",
                time: UnixTime(seconds: 0))
            #expect(String(decoding: octets, as: UTF8.self) == text)
        }
    }
}
