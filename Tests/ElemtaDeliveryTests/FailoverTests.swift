import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Synchronization
import Testing

@testable import ElemtaDelivery

/// A domain with several hosts on loopback addresses, all on one port.
struct FailoverTests {
    private static let first: UInt32 = 0x7F00_0001
    private static let second: UInt32 = 0x7F00_0002
    private static let third: UInt32 = 0x7F00_0003

    private static func hosts(_ list: (UInt16, UInt32)...) -> Resolution {
        let hosts = list.map { preference, address in
            MailHost(
                name: "mx\(address & 255).example.com", preference: preference,
                addresses: [IPAddress(v4: address)])
        }
        return .hosts(hosts, secondsToLive: 300)
    }

    private func settings() throws -> DeliverySettings {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.timeouts.greeting = .seconds(1)
        return settings
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// What the first host does; nil: it isn't there.
        let greeting: ScriptedServer.Reaction?
    }

    static let rows = [
        Row(testDescription: "isn't there", greeting: nil),
        Row(testDescription: "greets with 4xx", greeting: .sayAndClose("421 4.3.2 busy\r\n")),
        Row(testDescription: "greets with 5xx", greeting: .say("554 5.3.2 no service\r\n")),
        Row(testDescription: "is silent", greeting: .silence),
        Row(testDescription: "speaks another protocol", greeting: .say("* OK IMAP4\r\n")),
        Row(testDescription: "closes", greeting: .close),
    ]

    @Test("The next host gets the message in the same attempt when the first", arguments: rows)
    func nextHost(row: Row) throws {
        let good = try ScriptedServer(
            on: SocketAddress(host: .v4(Self.second), port: 0), ScriptedServer.polite())
        let port = good.address.port
        let bad = try row.greeting.map { greeting in
            try ScriptedServer(on: SocketAddress(host: .v4(Self.first), port: port)) { _ in greeting
            }
        }
        let store = MemoryStore()
        let hosts = Mutex<[String]>([])
        let service = DeliveryService(try settings()) { event in
            hosts.withLock { $0.append(event.host ?? "none") }
        }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(Self.hosts((20, Self.second), (10, Self.first)))
        }
        service.deliver([try store.add(1, destination: "mx:example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        // The one that failed is tried last for a while.
        service.deliver([try store.add(2, destination: "mx:example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(hosts.withLock { $0 } == ["mx2.example.com", "mx2.example.com"])
        if let bad { #expect(bad.record.dialogues.count == 1) }
    }

    @Test func aBackupBehindEightDeadAddressesIsTried() throws {
        let good = try ScriptedServer(
            on: SocketAddress(host: .v4(Self.second), port: 0), ScriptedServer.polite())
        let store = MemoryStore()
        let service = DeliveryService(try settings()) { _ in }
        let hosts = (0..<3).map { number in
            MailHost(
                name: "mx\(number).example.com", preference: 10,
                addresses: (1...4).map { IPAddress(v4: 0x7F00_0150 + number * 4 + $0) })
        }
        let backup = MailHost(
            name: "backup.example.com", preference: 20, addresses: [IPAddress(v4: Self.second)])
        try service.start(store: store, resolver: nil) { _, answer in
            answer(.hosts(hosts + [backup], secondsToLive: 300))
        }
        service.deliver([
            try store.add(1, destination: "mx:example.com:\(good.address.port)")
        ])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
    }

    @Test(
        "When no host takes mail, one that may later keeps it",
        arguments: [
            ("554 5.3.2 no\r\n", "554 5.3.2 no\r\n", "failed 5.3.2"),
            ("554 5.3.2 no\r\n", "421 4.3.2 busy\r\n", "deferred 4.3.2"),
            ("421 4.3.2 busy\r\n", "554 5.3.2 no\r\n", "deferred 4.3.2"),
        ])
    func worstOfAll(first: String, second: String, outcome: String) throws {
        let one = try ScriptedServer(on: SocketAddress(host: .v4(Self.first), port: 0)) { _ in
            .say(first)
        }
        let port = one.address.port
        let other = try ScriptedServer(on: SocketAddress(host: .v4(Self.third), port: port)) { _ in
            .say(second)
        }
        let store = MemoryStore()
        let service = DeliveryService(try settings()) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(Self.hosts((10, Self.first), (10, Self.third)))
        }
        service.deliver(
            try (1...20).map { try store.add($0, destination: "mx:example.com:\(port)") })
        #expect(try store.take(20).map(\.summary) == Array(repeating: outcome, count: 20))
        service.stop(grace: .zero)
        #expect(!one.record.dialogues.isEmpty && !other.record.dialogues.isEmpty)
    }

    @Test(
        "Without a host all that waits has the reason",
        arguments: [
            (LookupFailure.noSuchDomain, "failed 5.1.2"), (.nullMX, "failed 5.1.10"),
            (.noAddress, "failed 5.4.4"), (.noAnswer("SERVFAIL"), "deferred 4.4.3"),
        ])
    func noHost(failure: LookupFailure, outcome: String) throws {
        let store = MemoryStore()
        let service = DeliveryService(try settings()) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in answer(.failed(failure)) }
        service.deliver(try (1...20).map { try store.add($0, destination: "mx:example.com") })
        #expect(try store.take(20).map(\.summary) == Array(repeating: outcome, count: 20))
        service.stop(grace: .zero)
    }

    @Test func aConnectionWithoutMailGivesWayToADestinationThatWaits() throws {
        let servers = try (0..<3).map { _ in try ScriptedServer(ScriptedServer.polite()) }
        let store = MemoryStore()
        var settings = try settings()
        settings.maximumConnections = 1
        settings.idleConnection = .seconds(600)
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        // Handed over together: two of them wait before the first one's connection has no mail.
        service.deliver(
            try servers.enumerated().map { number, server in
                try store.add(
                    UInt64(number + 1), destination: "smtp:[127.0.0.1]:\(server.address.port)")
            })
        #expect(try store.take(3).allSatisfy { $0.summary == "relayed 2.0.0" })
        service.stop(grace: .zero)
    }

    @Test func allConnectionsTogetherStayWithinTheirLimit() throws {
        let servers = try (0..<10).map { _ in try ScriptedServer(ScriptedServer.polite()) }
        let store = MemoryStore()
        var settings = try settings()
        settings.maximumConnections = 3
        // A resting connection gives way to a destination that wants one.
        settings.idleConnection = .seconds(600)
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        var number: UInt64 = 0
        for _ in 0..<20 {
            service.deliver(
                try servers.map { server in
                    number += 1
                    return try store.add(
                        number, destination: "smtp:[127.0.0.1]:\(server.address.port)")
                })
        }
        #expect(try store.take(200).allSatisfy { $0.summary == "relayed 2.0.0" })
        service.stop(grace: .zero)
    }

    @Test("Domains with the same hosts share connections among workers", arguments: [1, 5])
    func sharedConnections(workers: Int) throws {
        let server = try ScriptedServer(
            on: SocketAddress(host: .v4(Self.second), port: 0), ScriptedServer.polite())
        let port = server.address.port
        let store = MemoryStore()
        var settings = try settings()
        settings.maximumWorkers = workers
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(Self.hosts((10, Self.second), (20, Self.third)))
        }
        for number in 1...10 as ClosedRange<UInt64> {
            let destination = "mx:d\(number).example.com:\(port)"
            service.deliver([try store.add(number, destination: destination)])
            let outcome = try #require(try store.take(1).first)
            #expect(outcome.summary == "relayed 2.0.0")
            #expect(outcome.destination.name == destination)
        }
        // On other terms it's another connection.
        service.deliver([try store.add(11, destination: "mx+off:d1.example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        let messages = server.record.dialogues.map { $0.filter { $0 == "DATA" }.count }
        #expect(messages == [10, 1])
    }
}
