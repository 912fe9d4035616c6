import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Synchronization
import Testing

@testable import ElemtaDelivery

/// A domain with several addresses, some of which nobody answers at.
struct HostRaceTests {
    private func service(
        _ store: MemoryStore, _ hosts: [MailHost],
        _ change: (inout DeliverySettings) -> Void = { _ in }
    ) throws -> DeliveryService {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.connectTimeout = .seconds(20)
        change(&settings)
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(.hosts(hosts, secondsToLive: 300))
        }
        return service
    }

    private func address(_ number: UInt32) -> IPAddress { IPAddress(v4: 0x7F00_0000 + number) }

    @Test func anAddressThatHangsIsOvertaken() throws {
        let good = try ScriptedServer(
            on: SocketAddress(host: .v4(0x7F00_0032), port: 0), ScriptedServer.polite())
        let port = good.address.port
        let dead = try (0x33...0x35).map { try DeadEnd(0x7F00_0000 + UInt32($0), port: port) }
        let hosts = [
            MailHost(
                name: "mx.example.com", preference: 10,
                addresses: [address(0x33), address(0x34), address(0x35), address(0x32)])
        ]
        let store = MemoryStore()
        let service = try service(store, hosts)
        let began = MonotonicTime.now
        service.deliver([try store.add(1, destination: "mx:example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        let taken = MonotonicTime.now - began
        #expect(taken >= HostRace.headStart * 3)
        #expect(taken < .seconds(10))
        service.stop(grace: .zero)
        #expect(dead.count == 3)
    }

    @Test func aHostThatComesLaterByPreferenceWaitsForThoseBeforeIt() throws {
        let good = try ScriptedServer(
            on: SocketAddress(host: .v4(0x7F00_0036), port: 0), ScriptedServer.polite())
        let port = good.address.port
        let dead = try DeadEnd(0x7F00_0037, port: port)
        let hosts = [
            MailHost(name: "mx1.example.com", preference: 10, addresses: [address(0x37)]),
            MailHost(name: "mx2.example.com", preference: 20, addresses: [address(0x36)]),
        ]
        let store = MemoryStore()
        let service = try service(store, hosts) { $0.connectTimeout = .seconds(1) }
        let began = MonotonicTime.now
        service.deliver([try store.add(1, destination: "mx:example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        #expect(MonotonicTime.now - began >= .milliseconds(900))
        service.stop(grace: .zero)
        #expect(dead.address.port == port)
    }

    @Test func thoseThatWereOvertakenAreTriedWhenTheWinnerRefuses() throws {
        let polite = ScriptedServer.polite()
        let refusing = try ScriptedServer(on: SocketAddress(host: .v4(0x7F00_0038), port: 0)) { _ in
            .say("421 4.3.2 busy\r\n")
        }
        let port = refusing.address.port
        let taking = try ScriptedServer(
            on: SocketAddress(host: .v4(0x7F00_0039), port: port), polite)
        let hosts = [
            MailHost(
                name: "mx.example.com", preference: 10, addresses: [address(0x38), address(0x39)])
        ]
        let store = MemoryStore()
        let service = try service(store, hosts)
        service.deliver([try store.add(1, destination: "mx:example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(taking.record.messages.count == 1)
    }

    /// While another destination's connection rests there is no room for it.
    @Test func anAddressIsTriedAsSoonAsThereIsRoom() throws {
        let good = try ScriptedServer(
            on: SocketAddress(host: .v4(0x7F00_003A), port: 0), ScriptedServer.polite())
        let port = good.address.port
        let dead = try DeadEnd(0x7F00_003B, port: port)
        let resting = try ScriptedServer(ScriptedServer.polite())
        let hosts = [
            MailHost(
                name: "mx.example.com", preference: 10, addresses: [address(0x3B), address(0x3A)])
        ]
        let store = MemoryStore()
        let service = try service(store, hosts) {
            $0.maximumConnections = 2
            $0.idleConnection = .milliseconds(500)
        }
        service.deliver([
            try store.add(1, destination: "smtp:[127.0.0.1]:\(resting.address.port)")
        ])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        let began = MonotonicTime.now
        service.deliver([try store.add(2, destination: "mx:example.com:\(port)")])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        #expect(MonotonicTime.now - began < .seconds(10))
        service.stop(grace: .zero)
        #expect(dead.address.port == port)
    }
}
