import ElemtaQueue
import ElemtaSMTP
import Testing

@testable import elemta

@Suite("MessageShelf") struct MessageShelfTests {
    private let ids = MessageIDSource()

    private func message(
        octets count: Int = 10, from sender: String = "a@b.example", to: [String] = ["c@d.example"]
    ) throws -> CapturedMessage {
        let transaction = MailTransaction(
            reversePath: .mailbox(try #require(Mailbox(sender))),
            recipients: try to.map {
                AcceptedRecipient(path: .mailbox(try #require(Mailbox($0))))
            })
        let envelope = Envelope(
            id: ids.next(), arrival: UnixTime(seconds: 0), client: ClientTrace(),
            transaction: transaction, summary: ContentSummary(octetCount: UInt64(count)))
        return CapturedMessage(envelope, ContentOctets([UInt8](repeating: 0x61, count: count)))
    }

    private func listed(_ shelf: MessageShelf, _ selection: QueueSelection = .all) throws
        -> [MessageID]
    {
        try shelf.list(selection, after: nil, limit: 1).messages.map(\.id)
    }

    @Test("the oldest message goes when there is one too many")
    func count() throws {
        let shelf = MessageShelf(.init(messages: 2, octets: 10_000))
        let messages = try (0..<4).map { _ in try message() }
        for message in messages { #expect(shelf.put(message)) }
        #expect(try listed(shelf) == messages.suffix(2).map(\.id))
        #expect(throws: SpoolError.unknownMessage(messages[0].id)) {
            try shelf.show(messages[0].id)
        }
    }

    @Test("as many of the oldest go as make room, and addresses count")
    func octets() throws {
        let one = try message(octets: 400).octetCount
        let shelf = MessageShelf(.init(messages: 100, octets: 3 * one))
        let small = try (0..<3).map { _ in try message(octets: 400) }
        for message in small { #expect(shelf.put(message)) }
        #expect(try listed(shelf) == small.map(\.id))
        let recipients = (0..<10).map { "user\($0)@d.example" }
        let wide = try message(octets: 1, to: recipients)
        #expect(wide.octetCount > 10 * 96)
        let large = try message(octets: 400 + one)
        #expect(shelf.put(large))
        #expect(try listed(shelf) == [small[2].id, large.id])
    }

    @Test("one that is larger than all may be is not kept, and takes no other's place")
    func tooLarge() throws {
        let shelf = MessageShelf(.init(messages: 100, octets: 1000))
        let small = try message()
        #expect(shelf.put(small))
        #expect(!shelf.put(try message(octets: 1000)))
        #expect(try listed(shelf) == [small.id])
    }

    @Test("messages are selected as queued ones are, and are held")
    func selection() throws {
        let shelf = MessageShelf()
        let first = try message(from: "x@b.example")
        let second = try message(to: ["c@other.example", "d@d.example"])
        for message in [first, second] { #expect(shelf.put(message)) }
        let domain = try #require(Domain("other.example"))
        #expect(try listed(shelf, .domain(domain)) == [second.id])
        #expect(try listed(shelf, .sender(first.envelope.reversePath)) == [first.id])
        #expect(try listed(shelf, .ids([second.id])) == [second.id])
        #expect(try listed(shelf, .state(.hold)) == [first.id, second.id])
        #expect(try listed(shelf, .state(.active)).isEmpty)
        #expect(try shelf.statistics().held == 2)
    }

    @Test("deleting makes room, and nothing else can be done to a message")
    func operations() throws {
        let first = try message()
        let shelf = MessageShelf(.init(messages: 100, octets: first.octetCount))
        #expect(shelf.put(first))
        shelf.perform(.delete, on: .ids([first.id]), while: { true }) { progress in
            #expect(progress.changed == 1 && progress.examined == 1 && progress.isFinished)
        }
        #expect(try listed(shelf).isEmpty)
        #expect(shelf.put(try message()))
        #expect(try listed(shelf).count == 1)
        for operation in [QueueOperation.retry, .hold, .release] {
            #expect(shelf.objection(to: operation) != nil)
        }
        #expect(shelf.objection(to: .delete) == nil)
    }

    @Test("content is given back octet by octet")
    func content() throws {
        let shelf = MessageShelf()
        let kept = try message(octets: 70_000)
        #expect(shelf.put(kept))
        guard case .memory(let octets) = try shelf.read(kept.id).content else {
            Issue.record("content of dev mode isn't in a file")
            return
        }
        #expect(octets == [UInt8](repeating: 0x61, count: 70_000))
    }
}
