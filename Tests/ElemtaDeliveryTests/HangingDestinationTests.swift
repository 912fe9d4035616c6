import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

/// Destinations whose servers say nothing, more of them than there are places for connections.
struct HangingDestinationTests {
    private static let host: UInt32 = 0x7F00_003C

    /// Every domain has the same host, whose ports differ.
    private func service(
        _ store: MemoryStore, _ change: (inout DeliverySettings) -> Void
    ) throws -> DeliveryService {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        change(&settings)
        let hosts = [
            MailHost(name: "mx.example.com", preference: 10, addresses: [IPAddress(v4: Self.host)])
        ]
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(.hosts(hosts, secondsToLive: 300))
        }
        return service
    }

    private func server(_ script: @escaping ScriptedServer.Script) throws -> ScriptedServer {
        try ScriptedServer(on: SocketAddress(host: .v4(Self.host), port: 0), script)
    }

    @Test func thoseThatHangCostTheOthersNothing() throws {
        let silent = try server { _ in .silence }
        let unanswered = try DeadEnd(Self.host)
        let good = try server(ScriptedServer.polite())
        let ports = [silent.address.port, unanswered.address.port]
        let store = MemoryStore()
        let service = try service(store) { $0.maximumConnections = 20 }
        service.deliver(
            try (1...200).map {
                try store.add($0, destination: "mx:d\($0).example.com:\(ports[Int($0 % 2)])")
            })
        let began = MonotonicTime.now
        service.deliver(
            try (1_001...1_100).map {
                try store.add($0, destination: "mx:good.example.com:\(good.address.port)")
            })
        let outcomes = try store.take(100)
        #expect(outcomes.allSatisfy { $0.summary == "relayed 2.0.0" && $0.id.rawValue > 1_000 })
        #expect(MonotonicTime.now - began < .seconds(4))
        // By now the others wait for their second look.
        let again = MonotonicTime.now
        let other = try store.add(2_000, destination: "mx:other.example.com:\(good.address.port)")
        service.deliver([other])
        #expect(try store.take(1).map(\.id.rawValue) == [2_000])
        #expect(MonotonicTime.now - again < .seconds(1))
        service.stop(grace: .zero)
        #expect(try store.take(200).allSatisfy { $0.summary == "not attempted" })
        #expect(silent.record.dialogues.count >= 100)
    }

    @Test func thoseThatHangAreUnreachedWhileOthersWait() throws {
        let silent = try server { moment in
            // Half of them aren't ready for mail even after a greeting.
            moment.connection % 2 == 0 || !moment.line.isEmpty ? .silence : .say("220 hello\r\n")
        }
        let store = MemoryStore()
        let service = try service(store) {
            $0.maximumConnections = 8
            $0.timeouts.firstLook = .milliseconds(50)
            $0.timeouts.secondLook = .milliseconds(200)
        }
        service.deliver(
            try (1...40).map {
                try store.add($0, destination: "mx:d\($0).example.com:\(silent.address.port)")
            })
        // The last ones have no one behind them that they would have to give way to.
        let outcomes = try store.take(32)
        #expect(outcomes.allSatisfy { $0.isUnreached && $0.summary == "deferred 4.4.1" })
        service.stop(grace: .zero)
    }

    @Test func thoseThatHangInATransactionGiveWayAsWell() throws {
        let polite = ScriptedServer.polite([])
        let stalling = try server { $0.verb == "RCPT" ? .silence : polite($0) }
        let store = MemoryStore()
        let service = try service(store) {
            $0.maximumConnections = 4
            $0.timeouts.stall = .milliseconds(200)
        }
        service.deliver(
            try (1...12).map {
                try store.add($0, destination: "mx:d\($0).example.com:\(stalling.address.port)")
            })
        let outcomes = try store.take(8)
        #expect(outcomes.allSatisfy { !$0.isUnreached && $0.summary == "deferred 4.4.2" })
        service.stop(grace: .zero)
    }

    @Test func whoIsSilentAtFirstIsTriedAgainWithoutAnAttempt() throws {
        let polite = ScriptedServer.polite()
        let slow = try server { $0.connection == 0 ? .silence : polite($0) }
        let silent = try server { _ in .silence }
        let store = MemoryStore()
        let service = try service(store) { $0.maximumConnections = 4 }
        service.deliver([
            try store.add(1, destination: "mx:slow.example.com:\(slow.address.port)")
        ])
        service.deliver(
            try (2...10).map {
                try store.add($0, destination: "mx:d\($0).example.com:\(silent.address.port)")
            })
        let outcome = try #require(try store.take(1).first)
        #expect(outcome.id.rawValue == 1)
        #expect(outcome.summary == "relayed 2.0.0")
        service.stop(grace: .zero)
        #expect(slow.record.dialogues.count == 2)
    }

    @Test func whoHasNotGreetedHasOneConnection() throws {
        let silent = try server { _ in .silence }
        let store = MemoryStore()
        let service = try service(store) { $0.timeouts.greeting = .seconds(1) }
        service.deliver(
            try (1...20).map {
                try store.add($0, destination: "mx:example.com:\(silent.address.port)")
            })
        let outcomes = try store.take(20)
        #expect(outcomes.allSatisfy { $0.isUnreached && $0.summary == "deferred 4.4.2" })
        service.stop(grace: .zero)
        #expect(silent.record.dialogues.count == 1)
    }

    @Test func aServerThatHangsKeepsNobodyFromTryingTheNext() throws {
        let good = try server(ScriptedServer.polite())
        let port = good.address.port
        let other: UInt32 = 0x7F00_003D
        let silent = try ScriptedServer(on: SocketAddress(host: .v4(other), port: port)) { _ in
            .silence
        }
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.timeouts.trial = .milliseconds(200)
        let hosts = [
            MailHost(name: "mx1.example.com", preference: 10, addresses: [IPAddress(v4: other)]),
            MailHost(
                name: "mx2.example.com", preference: 20, addresses: [IPAddress(v4: Self.host)]),
        ]
        let store = MemoryStore()
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(.hosts(hosts, secondsToLive: 300))
        }
        service.deliver(
            try (1...20).map { try store.add($0, destination: "mx:example.com:\(port)") })
        #expect(try store.take(20).allSatisfy { $0.summary == "relayed 2.0.0" })
        service.stop(grace: .zero)
        #expect(silent.record.dialogues.count >= 1)
    }
}
