import ElemtaSMTP
import Testing

struct ClientCommandTests {
    private static let greeting = "220 mx.example.com ESMTP"

    private func sent(
        _ offer: String, _ transactions: [ClientTransaction], _ replies: [String]
    ) -> String {
        ClientDialogue(replies: [Self.greeting, offer] + replies, transactions: transactions)
            .play().sent
    }

    @Test func withoutPipeliningEachCommandWaitsForItsReply() {
        let text = sent(
            ClientDialogue.offersNothing, [.message(to: ["a@example.com", "b@example.com"])],
            ["250 ok", "250 ok", "250 ok", "354 go", "250 done"])
        #expect(
            text == """
                EHLO client.example.com
                MAIL FROM:<sender@example.org>
                RCPT TO:<a@example.com>
                RCPT TO:<b@example.com>
                DATA
                {data}{content}
                QUIT

                """)
    }

    @Test func refusedRecipientsMeanNoDataAndARsetBeforeTheNextMessage() {
        let text = sent(
            ClientDialogue.offersNothing, [.message(), .message(from: "")],
            ["250 ok", "550 no", "250 reset", "250 ok", "250 ok", "354 go", "250 done"])
        #expect(
            text == """
                EHLO client.example.com
                MAIL FROM:<sender@example.org>
                RCPT TO:<a@example.com>
                RSET
                MAIL FROM:<>
                RCPT TO:<a@example.com>
                DATA
                {data}{content}
                QUIT

                """)
    }

    @Test func aLoneDotAnswers354WhenNobodyWasAccepted() {
        let text = sent(
            ClientDialogue.offersPipelining, [.message()],
            ["250 ok", "550 no", "354 go", "554 nobody"])
        #expect(text.hasSuffix("DATA\n.\nQUIT\n"))
        #expect(!text.contains("{content}"))
    }

    struct Parameters: Sendable {
        let transaction: ClientTransaction
        let mail: String
        let recipient: String
        let content: String

        init(
            _ transaction: ClientTransaction, _ mail: String, _ recipient: String = "",
            _ content: String = "DATA\n{data}{content}\n"
        ) {
            self.transaction = transaction
            self.mail = mail
            self.recipient = recipient
            self.content = content
        }
    }

    static let parameters: [Parameters] = [
        Parameters(.message(), " SIZE=100"),
        Parameters(.message(traits: .eightBit), " SIZE=100 BODY=8BITMIME"),
        Parameters(
            .message(parameters: MailParameters(bodyType: .eightBitMIME)),
            " SIZE=100 BODY=8BITMIME"),
        Parameters(
            .message(parameters: MailParameters(smtputf8: true)), " SIZE=100"),
        Parameters(
            .message(
                traits: [.eightBit, .eightBitHeader], parameters: MailParameters(smtputf8: true)),
            " SIZE=100 BODY=8BITMIME SMTPUTF8"),
        Parameters(
            .message(
                parameters: MailParameters(
                    returnContent: .headers, envelopeID: Array("Q+1=2 ~".utf8)),
                notify: [.success, .delay],
                original: OriginalRecipient(
                    addressType: Array("rfc822".utf8), address: Array("x+y@example.net".utf8))),
            " SIZE=100 RET=HDRS ENVID=Q+2B1+3D2+20~",
            " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@example.net"),
        Parameters(.message(notify: .never), " SIZE=100", " NOTIFY=NEVER"),
        Parameters(
            .message(traits: .bareLineFeed), " SIZE=100", "", "BDAT 100 LAST\n{content}\n"),
        Parameters(.message(traits: .nul), " SIZE=100", "", "BDAT 100 LAST\n{content}\n"),
        Parameters(
            .message(traits: .unfinishedLine), " SIZE=100", "", "BDAT 100 LAST\n{content}\n"),
        Parameters(
            .message(octets: 65_536), " SIZE=65536", "", "BDAT 65536 LAST\n{content}\n"),
    ]

    @Test("What MAIL, RCPT and the content carry for what the message is", arguments: parameters)
    func parametersOnTheWire(row: Parameters) {
        let replies =
            row.content.hasPrefix("BDAT")
            ? ["250 ok", "250 ok", "250 done"] : ["250 ok", "250 ok", "354 go", "250 done"]
        let text = sent(ClientDialogue.offersAll, [row.transaction], replies)
        #expect(
            text == "EHLO client.example.com\nMAIL FROM:<sender@example.org>\(row.mail)\n"
                + "RCPT TO:<a@example.com>\(row.recipient)\n\(row.content)QUIT\n")
    }

    @Test func binaryContentIsDeclaredWhereTheServerKnowsBinary() {
        let text = sent(
            "250-mx\n250-CHUNKING\n250-8BITMIME\n250 BINARYMIME",
            [.message(traits: [.nul, .eightBit])], ["250 ok", "250 ok", "250 done"])
        #expect(text.contains("MAIL FROM:<sender@example.org> BODY=BINARYMIME\n"))
        #expect(text.contains("BDAT 100 LAST\n{content}\n"))
    }

    @Test func nothingOfDSNIsSaidToAServerWithoutIt() {
        let transaction = ClientTransaction.message(
            parameters: MailParameters(returnContent: .full, envelopeID: [0x41]), notify: .success)
        let text = sent(
            ClientDialogue.offersNothing, [transaction], ["250 ok", "250 ok", "354 go", "250 done"])
        #expect(text.contains("MAIL FROM:<sender@example.org>\nRCPT TO:<a@example.com>\n"))
    }
}
