import ElemtaQueue
import ElemtaSMTP
import Testing

@testable import elemta

@Suite("What `elemta queue` prints") struct QueuePrinterTests {
    @Test(
        "a status is told once, whoever's words they are",
        arguments: [
            (550, "5.1.1 no such user", "mx: 550 5.1.1 no such user"),
            (550, "no such user", "mx: 550 5.1.1 no such user"),
            (0, "Can't connect to mx", "mx: 5.1.1 Can't connect to mx"),
        ] as [(UInt16, String, String)])
    func statuses(code: UInt16, text: String, printed: String) throws {
        let status = DeliveryStatus(
            code: code, enhancedStatus: EnhancedStatus(.permanentFailure, 1, 1),
            text: Array(text.utf8), nextHop: "mx")
        let recipient = try #require(Mailbox("a@example.com"))
        var envelope = Envelope(
            id: MessageID(rawValue: 1), arrival: UnixTime(seconds: 0), client: ClientTrace(),
            transaction: MailTransaction(
                reversePath: .null, recipients: [AcceptedRecipient(path: .mailbox(recipient))]),
            summary: ContentSummary(octetCount: 1))
        envelope.recipients[0].state = .failed(status)
        for form in [QueueRequest.Form.table, .json] {
            let printer = QueuePrinter(form: form, remark: .reason)
            let list = printer.line(
                MessageSummary(envelope, QueueSight(now: UnixTime(seconds: 1))), subject: nil)
            #expect(String(decoding: list, as: UTF8.self).contains(printed))
            let message = printer.message(envelope, header: [])
            #expect(String(decoding: message, as: UTF8.self).contains("failed: \(printed)"))
        }
    }
}
