import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaDelivery

/// The spool and the workers together.
struct SpoolDeliveryTests {
    private static let count = 200
    private static let content = Array("Subject: x\r\n\r\n.x\r\n".utf8)

    @Test func whatTheSpoolAcceptsReachesTheServer() throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let options = SpoolOptions(path: directory.path + "/queue", hostname: "mail.example.org")
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { moment in
            moment.line.contains("bad@") ? .say("550 5.1.1 unknown\r\n") : polite(moment)
        }
        #expect(try deliverAll(options, to: server) == [.delivered: 180, .failed: 20])
        // The server says 354 whoever was refused: a lone dot is no message.
        let messages = server.record.messages.filter { !$0.isEmpty }
        #expect(messages.count == 180)
        #expect(messages.allSatisfy { $0 == Self.content })

        // Nothing is left for the next start, beside what failed and stays to be looked at.
        let again = try Spool.open(options)
        let left = try again.statistics()
        again.stop()
        #expect(left.messages == left.failed)
    }

    /// Sends every tenth message to bad@example.com; what the events say.
    private func deliverAll(
        _ options: SpoolOptions, to server: ScriptedServer
    ) throws -> [DeliveryEvent.Outcome: Int] {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        let target = "smtp://127.0.0.1:\(server.address.port)"
        settings.routes = [DeliveryRoute(.all, try #require(DeliveryRoute.Target(target)))]
        let events = Inbox<DeliveryEvent>()
        let service = DeliveryService(settings) { events.post($0) }
        let spool = try Spool.open(options)
        let acknowledged = Inbox<Acknowledgement>()
        try service.start(spool: spool)
        try spool.start(acknowledge: { $0.forEach { acknowledged.post($0) } }, dispatch: service)
        for number in 0..<Self.count {
            let recipient = number % 10 == 0 ? "bad@example.com" : "good@example.com"
            let transaction = MailTransaction(
                reversePath: .null,
                recipients: [
                    AcceptedRecipient(path: .mailbox(try #require(Mailbox(recipient))))
                ])
            let envelope = Envelope(
                id: spool.ids.next(), arrival: SpoolOptions.systemClock(), client: ClientTrace(),
                transaction: transaction,
                summary: ContentSummary(octetCount: UInt64(Self.content.count)))
            spool.accept(
                Submission(
                    token: UInt64(number), envelope: envelope,
                    content: .inMemory(ContentOctets(Self.content))))
        }
        var outcomes: [DeliveryEvent.Outcome: Int] = [:]
        for _ in 0..<Self.count {
            let event = try #require(events.takeOne())
            outcomes[event.outcome, default: 0] += 1
        }
        service.stop(grace: .seconds(10))
        spool.stop()
        #expect(acknowledged.count == Self.count)
        return outcomes
    }
}
