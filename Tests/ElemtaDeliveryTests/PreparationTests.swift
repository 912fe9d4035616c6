import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Synchronization
import Testing

@testable import ElemtaDelivery

/// What is done with content before a server hears of the message.
struct PreparationTests {
    private let store = MemoryStore()

    private func service() throws -> DeliveryService {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        return service
    }

    private func destination(_ server: ScriptedServer) -> String {
        "smtp:[127.0.0.1]:\(server.address.port)"
    }

    private func text(_ count: Int) -> [UInt8] {
        let head = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        let line = Array("Zeilen, die nicht ganz ASCII sind, weil sie ein \u{E4} haben.\r\n".utf8)
        var octets = Array(head.utf8)
        while octets.count < count { octets += line }
        return octets
    }

    @Test(
        "Content is encoded for a server without 8BITMIME, here, in memory or in a file",
        arguments: [1_000, 70_000, 200_000, 3_000_000])
    func conversion(count: Int) throws {
        let octets = text(count)
        let file = try TemporaryFile([1, 2, 3] + octets)
        let server = try ScriptedServer(ScriptedServer.polite(["PIPELINING", "SIZE"]))
        let service = try service()
        let contents: [MemoryStore.Content] = [
            .memory(octets), .file(path: file.path, offset: 3, count: octets.count),
        ]
        for (number, content) in contents.enumerated() {
            service.deliver([
                try store.add(
                    UInt64(number), content: content, traits: .eightBit,
                    destination: destination(server))
            ])
            #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        }
        service.stop(grace: .zero)
        let messages = server.record.messages
        #expect(messages.count == 2 && messages[0] == messages[1])
        let arrived = try #require(messages.first)
        #expect(arrived.allSatisfy { $0 < 128 })
        #expect(arrived.contains(Array("ein =C3=A4 haben.".utf8)))
        let commands: [String] = server.record.dialogues.flatMap { lines in lines }
        let sizes = commands.filter { $0.hasPrefix("MAIL") }
        #expect(Set(sizes) == ["MAIL FROM:<sender@example.org> SIZE=\(arrived.count)"])
    }

    @Test func aServerThatTakesItGetsItAsItIs() throws {
        let octets = text(200_000)
        let server = try ScriptedServer(ScriptedServer.polite())
        let service = try service()
        service.deliver([
            try store.add(
                1, content: .memory(octets), traits: .eightBit, destination: destination(server))
        ])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(server.record.messages == [octets])
    }

    @Test func aFirstConnectionThatIsLostMeanwhileIsAnAttempt() throws {
        let gate = Inbox<Void>()
        store.gate.withLock { $0 = gate }
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { moment in
            moment.verb == "EHLO" ? .sayAndClose("250 test.example.com\r\n") : polite(moment)
        }
        let file = try TemporaryFile(text(100_000))
        let service = try service()
        service.deliver([
            try store.add(
                1, content: .file(path: file.path, offset: 0, count: 100_000),
                destination: destination(server))
        ])
        #expect(try store.take(1).map(\.summary) == ["deferred 4.4.2"])
        gate.close()
        service.stop(grace: .zero)
        #expect(server.record.dialogues.count == 1)
    }

    @Test func aKeptConnectionThatIsLostMeanwhileIsNone() throws {
        let gate = Inbox<Void>()
        store.gate.withLock { $0 = gate }
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { moment in
            // Closed behind the first message, which needs no file.
            moment.line == "." && moment.connection == 0
                ? .sayAndClose("250 2.0.0 and goodbye\r\n") : polite(moment)
        }
        let file = try TemporaryFile(text(100_000))
        let service = try service()
        service.deliver([
            try store.add(1, destination: destination(server)),
            try store.add(
                2, content: .file(path: file.path, offset: 0, count: 100_000), traits: .eightBit,
                destination: destination(server)),
        ])
        for _ in 0..<4 { gate.post(()) }
        #expect(try store.take(2).map(\.summary) == ["relayed 2.0.0", "relayed 2.0.0"])
        gate.close()
        service.stop(grace: .zero)
        #expect(server.record.messages.count == 2)
    }
}
