import Testing

@testable import ElemtaSMTP

struct ContentConverterTests {
    /// What becomes of `content` when it comes in segments of `step` octets; nil: nothing helps.
    private func converted(
        _ content: [UInt8], step: Int = .max
    ) -> (octets: [UInt8], summary: ContentSummary)? {
        var survey = ConversionSurvey()
        for start in stride(from: 0, to: content.count, by: min(step, content.count + 1)) {
            let end = step == .max ? content.count : min(start + step, content.count)
            survey.take(content.span.extracting(start..<end))
        }
        guard var converter = survey.finish() else { return nil }
        var octets: [UInt8] = []
        for start in stride(from: 0, to: content.count, by: min(step, content.count + 1)) {
            let end = step == .max ? content.count : min(start + step, content.count)
            converter.take(content.span.extracting(start..<end), into: &octets)
        }
        let summary = converter.finish(into: &octets)
        return (octets, summary)
    }

    /// Latin-1, so that an octet is a character; LF stands for CRLF.
    private static func octets(_ text: String) -> [UInt8] {
        text.unicodeScalars.flatMap { scalar -> [UInt8] in
            scalar == "\n" ? [13, 10] : [UInt8(truncatingIfNeeded: scalar.value)]
        }
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let content: String
        /// Nil: nothing helps.
        let result: String?
    }

    private static let mime = "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"
    private static let printable = "Content-Transfer-Encoding: quoted-printable\n"

    static let rows: [Row] = [
        Row(
            testDescription: "text that is nearly ASCII",
            content: mime + "Content-Transfer-Encoding: 8bit\n\ncafé au lait = good \n.\n",
            result: mime + printable + "\ncaf=E9 au lait =3D good=20\n.\n"),
        Row(
            testDescription: "text that is hardly ASCII", content: mime + "\nééé\n",
            result: mime + "Content-Transfer-Encoding: base64\n\n6enpDQo=\n"),
        Row(
            testDescription: "the old field goes with its folds, in any case",
            content: "content-TRANSFER-encoding :\n 8bit (x\n y)\n" + mime + "\nabcdefé\n",
            result: mime + printable + "\nabcdef=E9\n"),
        Row(
            testDescription: "no word about MIME", content: "Subject: x\n\nabcdefé\n",
            result: "Subject: x\nMIME-Version: 1.0\n"
                + "Content-Type: text/plain; charset=unknown-8bit\n" + printable + "\nabcdef=E9\n"),
        Row(
            testDescription: "a last line without an end",
            content: mime + "\nabcdefé\nabcdefgh",
            result: mime + printable
                + "\nabcdef=E9\nabcdefgh=\n"),
        Row(
            testDescription: "soft breaks after 75 characters",
            content: mime + "\n" + String(repeating: "a", count: 74) + "é\n",
            result: mime + printable + "\n" + String(repeating: "a", count: 74) + "=\n=E9\n"),
        Row(
            testDescription: "parts, each as it needs",
            content: """
                MIME-Version: 1.0
                Content-Type: multipart/mixed; boundary="b 1"
                Content-Transfer-Encoding: 8bit

                é
                --b 1
                Content-Type: multipart/alternative; boundary=b

                --b
                Content-Transfer-Encoding: 8bit

                plain
                --b
                Content-Transfer-Encoding: binary

                abcdefé
                --b--
                é
                --b 1
                Content-Type: application/octet-stream

                éé
                --b 1
                Content-Type: message/rfc822
                Content-Transfer-Encoding: 8bit

                Subject: inner

                abcdefé

                --b 1--

                """,
            result: """
                MIME-Version: 1.0
                Content-Type: multipart/mixed; boundary="b 1"
                Content-Transfer-Encoding: 7bit

                ?
                --b 1
                Content-Type: multipart/alternative; boundary=b

                --b
                Content-Transfer-Encoding: 7bit

                plain
                --b
                Content-Transfer-Encoding: quoted-printable

                abcdef=E9
                --b--
                ?
                --b 1
                Content-Type: application/octet-stream
                Content-Transfer-Encoding: base64

                6ek=
                --b 1
                Content-Type: message/rfc822
                Content-Transfer-Encoding: 7bit

                Subject: inner
                MIME-Version: 1.0
                Content-Type: text/plain; charset=unknown-8bit
                Content-Transfer-Encoding: quoted-printable

                abcdef=E9

                --b 1--

                """),
        Row(
            testDescription: "what is encoded already, badly",
            content: mime + printable + "\nab=3D=\né \n",
            result: mime + printable + "\nab=3D=\n=E9 \n"),
        Row(
            testDescription: "base 64 with octets that mean nothing",
            content: mime + "Content-Transfer-Encoding: BASE64\n\n6éekN\nCg==\n",
            result: mime + "Content-Transfer-Encoding: BASE64\n\n6ekN\nCg==\n"),
        Row(
            testDescription: "bare CR, LF and NUL too",
            content: mime + "\nabcdefghijklm\rno\u{10A}pqrstuvwxyz\0é\n",
            result: mime + printable + "\nabcdefghijklm=0Dno=0Apqrstuvwxyz=00=E9\n"),
        Row(testDescription: "a field", content: "X: é\n\nx\n", result: nil),
        Row(
            testDescription: "a field of a message inside",
            content: "Content-Type: message/rfc822\n\nX: é\n\nx\n", result: nil),
        Row(
            testDescription: "an encoding that nobody knows",
            content: mime + "Content-Transfer-Encoding: x-uue\n\né\n", result: nil),
        Row(
            testDescription: "a part of a message",
            content: "Content-Type: message/partial; id=x\n\né\n", result: nil),
        Row(
            testDescription: "a multipart without a boundary",
            content: "Content-Type: multipart/mixed\n\né\n", result: nil),
        Row(
            testDescription: "a header section that isn't one", content: "X: y\nabc\n\né\n",
            result: nil),
        Row(
            testDescription: "two types", content: mime + mime + "\né\n", result: nil),
    ]

    @Test("A message for a next hop that doesn't take it as it is", arguments: rows)
    func conversion(row: Row) {
        let content = Self.octets(row.content)
        let result = converted(content)
        #expect(result?.octets == row.result.map(Self.octets))
        if let result {
            #expect(result.summary.octetCount == UInt64(result.octets.count))
            let isEightBit = result.octets.contains { $0 > 127 }
            #expect(result.summary.isEightBit == isEightBit)
        }
        for step in [1, 2, 3, 7] {
            #expect(converted(content, step: step)?.octets == result?.octets)
        }
    }

    @Test func entitiesInsideEachOtherWithoutEndAreBounded() {
        let shell = "Content-Type: message/rfc822\n\n"
        let text = "Subject: x\n\né\n"
        let fits = String(repeating: shell, count: MIMEWalker.maximumDepth) + text
        #expect(converted(Self.octets(fits)) != nil)
        let beyond = String(repeating: shell, count: MIMEWalker.maximumDepth + 2) + text
        #expect(converted(Self.octets(beyond)) == nil)
        let part = "--b\n\n"
        let many = "Content-Type: multipart/mixed; boundary=b\n\n"
        let few = many + String(repeating: part, count: 100) + "é\n"
        #expect(converted(Self.octets(few)) != nil)
        let parts = String(repeating: part, count: ConversionSurvey.maximumEntities + 1)
        #expect(converted(Self.octets(many + parts + "é\n")) == nil)
    }

    @Test("Every body decodes to what it was", arguments: 0..<200)
    func bodiesAreTheSame(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let bodies = (0..<Int.random(in: 1...4, using: &random)).map { _ in
            Self.body(&random)
        }
        var content = Self.octets(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n")
        for body in bodies {
            content += Self.octets("--b\nContent-Type: application/octet-stream\n\n") + body
            content += Self.octets("\n")
        }
        content += Self.octets("--b--\n")
        let step = Int.random(in: 1...5_000, using: &random)
        let result = try #require(converted(content, step: step)).octets
        let delimiter = Self.octets("\n--b")
        let parts = result.split(separator: delimiter).dropFirst().dropLast()
        #expect(parts.map { Self.decoded(Array($0)) } == bodies)
        #expect(result.allSatisfy { $0 < 128 })
        let lines = result.split(separator: [13, 10])
        #expect(lines.allSatisfy { !$0.contains(13) && !$0.contains(10) })
    }

    /// What a part holds: its encoding is undone.
    private static func decoded(_ part: [UInt8]) -> [UInt8] {
        guard let end = part.firstRange(of: octets("\n\n")) else { return [] }
        let header = String(decoding: part[..<end.lowerBound], as: UTF8.self)
        let body = Array(part[end.upperBound...])
        if header.hasSuffix("base64") {
            let text = body.filter { $0 > 32 }
            return Base64.decode(text.span) ?? []
        }
        return header.hasSuffix("quoted-printable") ? unquoted(body) : body
    }

    private static func unquoted(_ body: [UInt8]) -> [UInt8] {
        var octets: [UInt8] = []
        var index = 0
        while index < body.count {
            guard body[index] == 61, index + 2 < body.count else {
                octets.append(body[index])
                index += 1
                continue
            }
            let pair = String(decoding: body[(index + 1)...(index + 2)], as: UTF8.self)
            if let octet = UInt8(pair, radix: 16) { octets.append(octet) }
            index += 3
        }
        return octets
    }

    /// Text, nearly text, or anything.
    private static func body(_ random: inout SplitMix) -> [UInt8] {
        let alphabets: [[UInt8]] = [
            Array("acdefghij kl=.-\t".utf8), Array("acdefghij kl=.-\t\u{E9}".utf8),
            Array(0...255), [13, 10, 46, 200, 0],
        ]
        let alphabet = alphabets[Int.random(in: 0..<4, using: &random)]
        var octets: [UInt8] = []
        for _ in 0..<Int.random(in: 0...5, using: &random) {
            let lengths = [0, 1, 40, 57, 74, 75, 76, 77, 900, 4_095, 4_096, 4_097]
            for _ in 0..<lengths[Int.random(in: 0..<lengths.count, using: &random)] {
                octets.append(alphabet[Int.random(in: 0..<alphabet.count, using: &random)])
            }
            octets += [13, 10]
        }
        return octets + [120]
    }

    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }
}
