import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Synchronization
import Testing

@testable import ElemtaDelivery

struct WorkerTests {
    private static func settings(_ change: (inout DeliverySettings) -> Void = { _ in }) throws
        -> DeliverySettings
    {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 2
        settings.connectTimeout = .seconds(5)
        settings.dnsServers = ["127.0.0.1:1"]
        change(&settings)
        return settings
    }

    private func running(
        _ store: MemoryStore, _ settings: DeliverySettings,
        events: @escaping @Sendable (DeliveryEvent) -> Void = { _ in }
    ) throws -> DeliveryService {
        let service = DeliveryService(settings, events: events)
        try service.start(store: store)
        return service
    }

    private func destination(_ server: ScriptedServer) -> String {
        "smtp:[127.0.0.1]:\(server.address.port)"
    }

    @Test func aRefusedConnectionDefersWhateverWaits() throws {
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        service.deliver(
            try (1...50).map { try store.add($0, destination: "smtp:[127.0.0.1]:1") })
        let outcomes = try store.take(50)
        #expect(outcomes.map(\.summary) == Array(repeating: "deferred 4.4.1", count: 50))
        // So that the spool can keep the others back.
        let areUnreached = outcomes.allSatisfy(\.isUnreached)
        #expect(areUnreached)
        service.stop(grace: .zero)
    }

    @Test func contentArrivesAsItWas() throws {
        let file = try TemporaryFile(
            Array(repeating: Array(".\r\n..a\r\n".utf8), count: 50_000).flatMap { $0 })
        let contents: [MemoryStore.Content] = [
            .memory([]), .memory(Array("\r\n".utf8)), .memory(Array(".\r\n".utf8)),
            .memory(Array("a\r\n.\r\n..\r\nb\r\n".utf8)),
            .memory(file.octets),
            .file(path: file.path, offset: 0, count: file.octets.count),
            .file(path: file.path, offset: 3, count: file.octets.count - 3),
        ]
        let server = try ScriptedServer(ScriptedServer.polite())
        let chunking = try ScriptedServer(ScriptedServer.polite(["CHUNKING", "8BITMIME"]))
        let store = MemoryStore()
        let service = try running(store, Self.settings { $0.maximumConnectionsPerDestination = 1 })
        var number: UInt64 = 0
        for server in [server, chunking] {
            for content in contents {
                number += 1
                service.deliver([
                    try store.add(number, content: content, destination: destination(server))
                ])
                #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
            }
            let expected = contents.map { content in
                switch content {
                case .memory(let octets): octets
                case .file(_, let offset, let count): Array(file.octets[offset..<offset + count])
                }
            }
            #expect(server.record.messages == expected)
            #expect(server.record.dialogues.count == 1)
        }
        let odd = Array("a\0b\rc\nd\n.\nno end".utf8)
        service.deliver([
            try store.add(
                100, content: .memory(odd),
                traits: [.nul, .bareCarriageReturn, .bareLineFeed, .unfinishedLine],
                destination: destination(chunking))
        ])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        #expect(chunking.record.messages.last == odd)
        service.deliver([
            try store.add(
                101, content: .memory(odd), traits: [.bareLineFeed],
                destination: destination(server))
        ])
        #expect(try store.take(1).map(\.summary) == ["failed 5.6.3"])
        service.stop(grace: .zero)
        #expect(server.record.messages.count == contents.count)
    }

    @Test func aFileThatShrankIsNeverSentAsWhole() throws {
        let file = try TemporaryFile(Array(repeating: 0x61, count: 300_000))
        let server = try ScriptedServer(ScriptedServer.polite())
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        service.deliver([
            try store.add(
                1, content: .file(path: file.path, offset: 0, count: 400_000),
                destination: destination(server)),
            try store.add(
                2, content: .file(path: file.path + ".gone", offset: 0, count: 400_000),
                destination: destination(server)),
        ])
        #expect(try store.take(2).map(\.summary) == ["deferred 4.3.0", "deferred 4.3.0"])
        service.stop(grace: .zero)
        #expect(server.record.messages.isEmpty)
    }

    @Test func eachRecipientHasItsResult() throws {
        let polite = ScriptedServer.polite(["PIPELINING", "DSN"])
        let server = try ScriptedServer { moment in
            if moment.line.contains("bad@") { return .say("550 5.1.1 unknown\r\n") }
            if moment.line.contains("full@") { return .say("452 4.2.2 full\r\n") }
            return polite(moment)
        }
        let store = MemoryStore()
        let told = Mutex<[String]>([])
        let service = try running(store, Self.settings()) { event in
            told.withLock { $0.append("\(event.recipient?.description ?? "all") \(event.outcome)") }
        }
        service.deliver([
            try store.add(
                1, to: ["bad@example.com", "good@example.com", "full@example.com"],
                notify: .success, destination: destination(server))
        ])
        let summary = "0: failed 5.1.1, 1: relayed, DSN 2.0.0, 2: deferred 4.2.2"
        #expect(try store.take(1).map(\.summary) == [summary])
        service.stop(grace: .zero)
        #expect(
            told.withLock { $0 } == [
                "<bad@example.com> failed", "<good@example.com> delivered",
                "<full@example.com> deferred",
            ])
        #expect(
            server.record.dialogues[0].contains("RCPT TO:<good@example.com> NOTIFY=SUCCESS"))
    }

    @Test func manyRecipientsGoInSeveralTransactions() throws {
        let server = try ScriptedServer(ScriptedServer.polite())
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        let addresses = (0..<250).map { "user\($0)@example.com" }
        service.deliver([try store.add(1, to: addresses, destination: destination(server))])
        let outcome = try #require(try store.take(1).first)
        service.stop(grace: .zero)
        guard case .each(let results) = outcome.results else {
            Issue.record("\(outcome)")
            return
        }
        #expect(results.map(\.recipient) == (0..<250).map { UInt32($0) })
        #expect(results.allSatisfy { $0.result.summary == "relayed 2.0.0" })
        #expect(server.record.messages.count == 3)
    }

    @Test func connectionsAreKeptUpToTheirLimitOfMessages() throws {
        let server = try ScriptedServer(ScriptedServer.polite())
        let store = MemoryStore()
        let service = try running(
            store,
            Self.settings {
                $0.maximumConnectionsPerDestination = 1
                $0.messagesPerConnection = 10
            })
        service.deliver(
            try (1...35).map { try store.add($0, destination: destination(server)) })
        #expect(try store.take(35).allSatisfy { $0.summary == "relayed 2.0.0" })
        service.stop(grace: .seconds(10))
        let messages = server.record.dialogues.map { $0.filter { $0 == "DATA" }.count }
        #expect(messages == [10, 10, 10, 5])
        #expect(server.record.dialogues.allSatisfy { $0.last == "QUIT" })
    }

    @Test func aKeptConnectionThatTheServerClosedCostsNothing() throws {
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { moment in
            // The second message of each connection meets a server that is no longer there.
            moment.line == "." ? .sayAndClose("250 2.0.0 and goodbye\r\n") : polite(moment)
        }
        let store = MemoryStore()
        let service = try running(store, Self.settings { $0.maximumConnectionsPerDestination = 1 })
        service.deliver(
            try (1...10).map { try store.add($0, destination: destination(server)) })
        #expect(try store.take(10).allSatisfy { $0.summary == "relayed 2.0.0" })
        service.stop(grace: .zero)
        #expect(server.record.messages.count == 10)
    }

    @Test func theWindowOpensAtFiveAndGrows() throws {
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { moment in
            moment.line == "." && moment.connection < 5 ? .silence : polite(moment)
        }
        let store = MemoryStore()
        let service = try running(
            store, Self.settings { $0.timeouts.endOfData = .seconds(3) })
        service.deliver(
            try (1...200).map { try store.add($0, destination: destination(server)) })
        let outcomes = try store.take(200)
        service.stop(grace: .zero)
        #expect(outcomes.filter { $0.summary == "deferred 4.4.2" }.count == 5)
        #expect(outcomes.filter { $0.summary == "relayed 2.0.0" }.count == 195)
        #expect((6...25).contains(server.record.dialogues.count))
    }

    @Test func unsendableMessagesByTheThousandDontOverflow() throws {
        let server = try ScriptedServer(ScriptedServer.polite([]))
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        let content = MemoryStore.Content.memory([0xE9, 13, 10])
        service.deliver(
            try (1...20_000).map {
                try store.add(
                    $0, content: content, traits: .eightBit, destination: destination(server))
            })
        #expect(try store.take(20_000).allSatisfy { $0.summary == "failed 5.6.3" })
        service.stop(grace: .zero)
        // One turn of the loop is one call.
        #expect(store.batchCount < 100)
    }

    @Test func stoppingAnswersForEverything() throws {
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { $0.line == "." ? .silence : polite($0) }
        let store = MemoryStore()
        let service = try running(store, Self.settings { $0.timeouts.endOfData = .seconds(60) })
        service.deliver(
            try (1...100).map { try store.add($0, destination: destination(server)) })
        service.stop(grace: .milliseconds(50))
        let outcomes = try store.take(100)
        #expect(outcomes.allSatisfy { $0.summary == "not attempted" })
        #expect(Set(outcomes.map(\.id)).count == 100)
    }

    @Test func discardNeedsNeitherSocketNorContent() throws {
        let store = MemoryStore()
        let service = try running(store, Self.settings())
        service.deliver(
            (1...1_000).map {
                WorkItem(
                    id: MessageID(rawValue: $0), destination: Destination(name: "discard"),
                    octets: 1, recipients: .allPending(1))
            })
        #expect(try store.take(1_000).allSatisfy { $0.summary == "delivered 2.0.0" })
        #expect(store.batchCount == 1)
        service.stop(grace: .zero)
    }

    @Test func hangingDestinationsCostTheOthersNothing() throws {
        let silent = try (0..<10).map { _ in try ScriptedServer { _ in .silence } }
        let good = try ScriptedServer(ScriptedServer.polite())
        let store = MemoryStore()
        let service = try running(
            store,
            Self.settings {
                $0.maximumWorkers = 1
                $0.timeouts.greeting = .seconds(60)
            })
        for (index, server) in silent.enumerated() {
            service.deliver(
                try (0..<20).map {
                    try store.add(UInt64(index * 20 + $0), destination: destination(server))
                })
        }
        service.deliver([try store.add(9_999, destination: destination(good))])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(try store.take(200).allSatisfy { $0.summary == "not attempted" })
    }
}
