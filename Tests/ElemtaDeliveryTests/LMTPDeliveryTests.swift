import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

struct LMTPDeliveryTests {
    private static func settings(
        _ change: (inout DeliverySettings) -> Void = { _ in }
    ) throws -> DeliverySettings {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.dnsServers = ["127.0.0.1:1"]
        change(&settings)
        return settings
    }

    private func running(
        _ store: MemoryStore, _ settings: DeliverySettings
    ) throws -> DeliveryService {
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store)
        return service
    }

    /// An LMTP server that answers the content with `answers`.
    private static func script(
        _ answers: [String], offer: [String] = ["PIPELINING", "8BITMIME", "DSN", "CHUNKING"]
    ) -> ScriptedServer.Script {
        let polite = ScriptedServer.polite()
        let hello = ["mail.example.com"] + offer.dropLast()
        return { moment in
            switch moment.verb {
            case "EHLO", "HELO": .say("502 5.5.1 LHLO, please\r\n")
            case "LHLO":
                .say(
                    hello.map { "250-\($0)\r\n" }.joined()
                        + "250 \(offer.last ?? "mail.example.com")\r\n")
            case ".": .say(answers.map { "\($0)\r\n" }.joined())
            default: polite(moment)
            }
        }
    }

    private static let three = ["a@example.com", "b@example.com", "c@example.com"]
    private static let mixed = ["250 2.1.5 a saved", "552 5.2.2 b full", "452 4.2.2 c full"]
    private static let results = "0: delivered 2.1.5, 1: failed 5.2.2, 2: deferred 4.2.2"

    @Test func eachRecipientHasHisOwnResultOverTCP() throws {
        let server = try ScriptedServer(Self.script(Self.mixed))
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        service.deliver([
            try store.add(
                1, to: Self.three, notify: .success,
                destination: "lmtp:[127.0.0.1]:\(server.address.port)")
        ])
        #expect(try store.take(1).map(\.summary) == [Self.results])
        service.stop(grace: .seconds(5))
        let dialogue = try #require(server.record.dialogues.first)
        #expect(dialogue.first == "LHLO mail.example.org")
        #expect(dialogue.last == "QUIT")
        #expect(!dialogue.contains { $0.contains("NOTIFY") })
    }

    @Test func aUnixSocketTakesMessageAfterMessageOverOneConnection() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let path = "\(folder.path)/lmtp"
        let server = try ScriptedServer(
            on: SocketAddress(unixPath: path), Self.script(["250 2.1.5 saved"]))
        let store = MemoryStore()
        let service = try running(
            store, Self.settings { $0.maximumConnectionsPerDestination = 1 })
        for number in 1...5 as ClosedRange<UInt64> {
            service.deliver([
                // What requires TLS needs none here.
                try store.add(number, requireTLS: number == 3, destination: "lmtp+unix:\(path)")
            ])
            #expect(try store.take(1).map(\.summary) == ["delivered 2.1.5"])
        }
        service.stop(grace: .seconds(5))
        #expect(server.record.dialogues.count == 1)
        #expect(server.record.messages.count == 5)
    }

    @Test func whereThereIsNoSocketMailWaits() throws {
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        service.deliver([try store.add(1, destination: "lmtp+unix:/nowhere/lmtp")])
        let outcome = try #require(try store.take(1).first)
        service.stop(grace: .zero)
        #expect(outcome.isUnreached)
        let status = try #require(outcome.deferral)
        #expect(status.enhancedStatus == EnhancedStatus(.persistentTransientFailure, 4, 1))
        let text = String(decoding: status.text, as: UTF8.self)
        #expect(text == "Can't connect to /nowhere/lmtp: connect: No such file or directory")
    }

    @Test func anSMTPServerIsNoLMTPServer() throws {
        let server = try ScriptedServer { moment in
            moment.verb == "LHLO"
                ? .say("500 5.5.1 what?\r\n") : ScriptedServer.polite()(moment)
        }
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        service.deliver([
            try store.add(1, destination: "lmtp:[127.0.0.1]:\(server.address.port)")
        ])
        let outcome = try #require(try store.take(1).first)
        service.stop(grace: .zero)
        #expect(outcome.isUnreached)
        let status = try #require(outcome.deferral)
        let text = String(decoding: status.text, as: UTF8.self)
        #expect(
            text.hasSuffix(
                "does not speak LMTP: it sent reply 500 where it can't be "
                    + "(waiting for its answer to LHLO)"), "\(text)")
    }

    @Test(
        "A server that answers too few, too many or in nonsense harms nobody who was answered",
        arguments: [
            (["250 2.0.0 a"], "0: delivered 2.0.0, 1: deferred 4.4.2, 2: deferred 4.4.2"),
            (
                ["250 2.0.0 a", "what?"],
                "0: delivered 2.0.0, 1: deferred 4.5.0, 2: deferred 4.5.0"
            ),
            (
                ["250 2.0.0 a", "250 2.0.0 b", "250 2.0.0 c", "250 2.0.0 d"],
                "0: delivered 2.0.0, 1: delivered 2.0.0, 2: delivered 2.0.0"
            ),
            (
                ["550 5.7.1 a", "421 4.3.2 bye"],
                "0: failed 5.7.1, 1: deferred 4.3.2, 2: deferred 4.3.2"
            ),
        ])
    func hostileEnds(answers: [String], summary: String) throws {
        let server = try ScriptedServer(Self.script(answers))
        let store = MemoryStore()
        let service = try running(
            store, Self.settings { $0.timeouts.endOfData = .seconds(1) })
        service.deliver([
            try store.add(
                1, to: Self.three,
                destination: "lmtp:[127.0.0.1]:\(server.address.port)")
        ])
        #expect(try store.take(1).map(\.summary) == [summary])
        service.stop(grace: .zero)
    }
}
