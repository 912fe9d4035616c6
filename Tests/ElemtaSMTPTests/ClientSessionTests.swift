import ElemtaSMTP
import Testing

struct ClientSessionTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let name: String
        let replies: [String]
        var transactions = [ClientTransaction.message()]
        let outcomes: [String]

        init(
            _ name: String, _ replies: [String],
            _ transactions: [ClientTransaction] = [.message()], is outcomes: String...
        ) {
            self.name = name
            self.replies = replies
            self.transactions = transactions
            self.outcomes = outcomes
        }

        var testDescription: String { name }
        var dialogue: ClientDialogue {
            ClientDialogue(replies: replies, transactions: transactions)
        }
    }

    private static let greeting = "220 mx.example.com ESMTP"
    private static let plain = [greeting, ClientDialogue.offersNothing]
    private static let pipelined = [greeting, ClientDialogue.offersPipelining]
    private static let all = [greeting, ClientDialogue.offersAll]
    private static let two = [ClientTransaction.message(to: ["a@example.com", "b@example.com"])]

    static let connecting: [Row] = [
        Row("greeting 4xx", ["421 4.3.2 busy"], is: "closed: 421 4.3.2 busy at greeting"),
        Row("greeting 5xx", ["554 no service"], is: "closed: 554 no service at greeting"),
        Row("greeting is a 250", ["250 hello"], is: "closed: outOfSequence(250) at greeting"),
        Row("greeting never comes", [ClientDialogue.silence], is: "closed: timed out at greeting"),
        Row("lost before the greeting", [ClientDialogue.lost], is: "closed: lost at greeting"),
        Row("HTTP server", ["HTTP/1.1 400 Bad Request"], is: "closed: malformed at greeting"),
        Row(
            "EHLO unknown, HELO works",
            [greeting, "502 what?", "250 hi", "250 ok", "250 ok", "354 go", "250 done"],
            is: "accepted 250 done"),
        Row(
            "EHLO and HELO refused", [greeting, "500 what?", "550 5.7.1 go away"],
            is: "closed: 550 5.7.1 go away at hello"),
        Row("EHLO 4xx", [greeting, "451 later"], is: "closed: 451 later at hello"),
        Row("EHLO 421", [greeting, "421 later"], is: "closed: 421 later at hello"),
        Row("EHLO 354", [greeting, "354 go"], is: "closed: outOfSequence(354) at hello"),
        Row("EHLO silence", [greeting, ClientDialogue.silence], is: "closed: timed out at hello"),
    ]

    static let oneByOne: [Row] = [
        Row(
            "delivered", plain + ["250 ok", "250 ok", "354 go", "250 2.0.0 queued"],
            is: "accepted 250 2.0.0 queued"),
        Row("MAIL 4xx", plain + ["451 4.7.1 later"], is: "deferred 451 4.7.1 later at mail"),
        Row("MAIL 5xx", plain + ["550 5.7.1 no"], is: "failed 550 5.7.1 no at mail"),
        Row("MAIL 421", plain + ["421 bye"], is: "deferred 421 bye at mail; untried"),
        Row("MAIL 354", plain + ["354 go"], is: "deferred outOfSequence(354) at mail"),
        Row("MAIL silence", plain, is: "deferred timed out at mail; untried"),
        Row(
            "RCPT 5xx of one", plain + ["250 ok", "550 no", "250 ok", "354 go", "250 done"], two,
            is: "failed 550 no at recipient; accepted 250 done"),
        Row(
            "RCPT 4xx of one", plain + ["250 ok", "250 ok", "450 no", "354 go", "250 done"], two,
            is: "accepted 250 done; deferred 450 no at recipient"),
        Row(
            "RCPT 552 counts as 452", plain + ["250 ok", "552 too many"],
            is: "deferred 552 too many at recipient"),
        Row(
            "RCPT all refused", plain + ["250 ok", "550 no", "450 later"], two,
            is: "failed 550 no at recipient; deferred 450 later at recipient"),
        Row(
            "RCPT 421 after one accepted", plain + ["250 ok", "250 ok", "421 bye"], two,
            is: "deferred 421 bye at recipient; deferred 421 bye at recipient"),
        Row(
            "lost at RCPT after one refused",
            plain + ["250 ok", "550 no", ClientDialogue.lost], two,
            is: "failed 550 no at recipient; deferred lost at recipient"),
        Row(
            "DATA 4xx", plain + ["250 ok", "250 ok", "451 later"],
            is: "deferred 451 later at data"),
        Row("DATA 5xx", plain + ["250 ok", "250 ok", "554 no"], is: "failed 554 no at data"),
        Row(
            "DATA 250", plain + ["250 ok", "250 ok", "250 ok"],
            is: "deferred outOfSequence(250) at data"),
        Row(
            "end of data 4xx", plain + ["250 ok", "250 ok", "354 go", "452 4.3.1 full"],
            is: "deferred 452 4.3.1 full at endOfData"),
        Row(
            "end of data 5xx", plain + ["250 ok", "250 ok", "354 go", "550 5.7.1 spam"],
            is: "failed 550 5.7.1 spam at endOfData"),
        Row(
            "end of data 354", plain + ["250 ok", "250 ok", "354 go", "354 go"],
            is: "deferred outOfSequence(354) at endOfData"),
        Row(
            "lost at end of data", plain + ["250 ok", "250 ok", "354 go", ClientDialogue.lost],
            is: "deferred lost at endOfData; may be duplicated"),
        Row(
            "silence at end of data", plain + ["250 ok", "250 ok", "354 go"],
            is: "deferred timed out at endOfData; may be duplicated"),
    ]

    static let inOneWrite: [Row] = [
        Row(
            "delivered", pipelined + ["250 ok", "250 ok", "354 go", "250 done"],
            is: "accepted 250 done"),
        Row(
            "MAIL refused, the rest 503",
            pipelined + ["550 5.1.8 who?", "503 order", "503 order"],
            is: "failed 550 5.1.8 who? at mail"),
        Row(
            "MAIL refused, RCPT taken all the same, DATA refused",
            pipelined + ["451 later", "250 ok", "503 order"], is: "deferred 451 later at mail"),
        Row(
            "all recipients refused, DATA refused",
            pipelined + ["250 ok", "550 no", "550 no", "554 no valid recipients"], two,
            is: "failed 550 no at recipient; failed 550 no at recipient"),
        Row(
            "all recipients refused and yet 354",
            pipelined + ["250 ok", "550 no", "354 go", "554 nobody"],
            is: "failed 550 no at recipient"),
        Row(
            "MAIL refused and yet 354", pipelined + ["550 no", "503 order", "354 go", "250 ok"],
            is: "failed 550 no at mail"),
        Row(
            "DATA refused after one accepted",
            pipelined + ["250 ok", "250 ok", "450 no", "451 later"], two,
            is: "deferred 451 later at data; deferred 450 no at recipient"),
        Row(
            "421 in the middle",
            pipelined + ["250 ok", "550 no", "421 bye"], two,
            is: "failed 550 no at recipient; deferred 421 bye at recipient"),
    ]

    static let kept: [Row] = [
        Row(
            "two messages",
            plain + ["250 a", "250 b", "354 c", "250 d", "250 e", "250 f", "354 g", "250 h"],
            [.message(), .message()], is: "accepted 250 d", "accepted 250 h"),
        Row(
            "RSET after all were refused",
            plain + ["250 ok", "550 no", "250 reset", "250 ok", "250 ok", "354 go", "250 done"],
            [.message(), .message()], is: "failed 550 no at recipient", "accepted 250 done"),
        Row(
            "RSET refused",
            plain + ["250 ok", "550 no", "500 what"], [.message(), .message()],
            is: "failed 550 no at recipient", "deferred outOfSequence(500) at mail; untried"),
        Row(
            "421 when the next begins",
            plain + ["250 ok", "250 ok", "354 go", "250 done", "421 idle"],
            [.message(), .message()], is: "accepted 250 done",
            "deferred 421 idle at mail; untried"),
    ]

    static let unsendable: [Row] = [
        Row(
            "larger than SIZE", all, [.message(octets: 1_000_001)],
            is: "failed tooLarge(limit: 1000000)"),
        Row("8-bit", plain, [.message(traits: .eightBit)], is: "failed needsEightBitMIME"),
        Row(
            "NUL and an unfinished line are no obstacle",
            plain + ["250 ok", "250 ok", "354 go", "250 done"],
            [.message(traits: [.nul, .unfinishedLine])], is: "accepted 250 done"),
        Row("bare LF", plain, [.message(traits: .bareLineFeed)], is: "failed needsChunking"),
        Row("bare CR", plain, [.message(traits: .bareCarriageReturn)], is: "failed needsChunking"),
        Row(
            "sender in UTF-8", plain, [.message(from: "jörg@example.org")],
            is: "failed needsSMTPUTF8"),
        Row(
            "one recipient in UTF-8", plain + ["250 ok", "250 ok", "354 go", "250 done"],
            [.message(to: ["jörg@example.com", "a@example.com"])],
            is: "failed needsSMTPUTF8; accepted 250 done"),
        Row(
            "declared SMTPUTF8, all ASCII", plain + ["250 ok", "250 ok", "354 go", "250 done"],
            [.message(parameters: MailParameters(smtputf8: true))], is: "accepted 250 done"),
        Row(
            "the next message is sent all the same",
            plain + ["250 ok", "250 ok", "354 go", "250 done"],
            [.message(traits: .bareLineFeed), .message()],
            is: "failed needsChunking", "accepted 250 done"),
    ]

    /// Whether a server speaks too early can only be told when it does so in one piece.
    static let early: [Row] = [
        Row(
            "two replies to MAIL", plain + ["250 ok\n250 and more"],
            is: "deferred unexpected at recipient"),
        Row("greeting and more", ["220 a\n250 b"], is: "closed: unexpected at hello"),
        Row(
            "a reply behind the last one",
            plain + ["250 ok", "250 ok", "354 go", "250 done\n250 more"],
            [.message(), .message()], is: "accepted 250 done"),
    ]

    @Test("A server that speaks before it is asked is left", arguments: early)
    func earlyReplies(row: Row) {
        #expect(row.dialogue.play().outcomes == row.outcomes)
    }

    @Test(
        "Each reply at each stage has its outcome, wherever TCP cuts it",
        arguments: connecting + oneByOne + inOneWrite + kept + unsendable)
    func outcomes(row: Row) {
        let dialogue = row.dialogue
        let whole = dialogue.play()
        #expect(whole.outcomes == row.outcomes)
        #expect(dialogue.play(piece: 1) == whole)
        for cut in 1..<dialogue.serverOctetCount {
            #expect(dialogue.play(cut: cut) == whole, "cut at \(cut)")
        }
    }
}
