import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

/// A domain among whose mail exchangers is this server.
struct OwnHostsTests {
    private func settings() throws -> DeliverySettings {
        var settings = DeliverySettings(
            hostname: try #require(Domain("mail.example.org")), heloName: "Out.example.org")
        settings.listeningAddresses = [
            SocketAddress(host: .v4(0), port: 25),
            SocketAddress(host: .v4(0xC000_0207), port: 2525),
            SocketAddress(host: .v6(high: 0, low: 0), port: 25),
        ]
        return settings
    }

    private static func host(_ preference: UInt16, _ name: String, _ address: String) -> MailHost {
        MailHost(
            name: name, preference: preference, addresses: IPAddress(address).map { [$0] } ?? [])
    }

    private struct Row: Sendable {
        let hosts: [MailHost]
        var port: UInt16 = 25
        let left: [String]
    }

    private static let rows: [Row] = [
        Row(
            hosts: [host(10, "a", "203.0.113.1"), host(20, "b", "203.0.113.2")], left: ["a", "b"]),
        Row(
            hosts: [host(10, "a", "203.0.113.1"), host(20, "mail.example.org", "203.0.113.2")],
            left: ["a"]),
        Row(
            hosts: [host(20, "a", "203.0.113.1"), host(10, "out.example.org", "203.0.113.2")],
            left: []),
        Row(
            hosts: [host(10, "a", "203.0.113.1"), host(10, "mail.example.org", "203.0.113.2")],
            left: []),
        // By address, with the port: another program may listen beside us.
        Row(hosts: [host(10, "a", "127.0.0.9"), host(20, "b", "203.0.113.2")], left: []),
        Row(hosts: [host(10, "a", "::1")], left: []),
        // No address at all is this machine.
        Row(hosts: [host(10, "a", "0.0.0.0")], left: []),
        Row(hosts: [host(10, "a", "::")], left: []),
        Row(hosts: [host(10, "a", "127.0.0.9")], port: 2526, left: ["a"]),
        Row(hosts: [host(10, "a", "192.0.2.7")], port: 2525, left: []),
        Row(hosts: [host(10, "a", "192.0.2.8")], port: 2525, left: ["a"]),
        // The name alone says nothing about another port.
        Row(
            hosts: [host(10, "mail.example.org", "203.0.113.2")], port: 26,
            left: ["mail.example.org"]),
    ]

    @Test("Hosts from our own preference on are left out", arguments: rows)
    private func hostsBeforeUs(row: Row) throws {
        let own = OwnHosts(try settings())
        #expect(own.hostsBeforeUs(row.hosts, port: row.port).map(\.name) == row.left)
    }

    @Test func mailForADomainThatEndsHereGoesBack() throws {
        let store = MemoryStore()
        let service = DeliveryService(try settings()) { _ in }
        try service.start(store: store, resolver: nil) { _, answer in
            answer(.hosts([Self.host(10, "mail.example.org", "203.0.113.2")], secondsToLive: 300))
        }
        service.deliver(try (1...20).map { try store.add($0, destination: "mx:example.com") })
        #expect(try store.take(20).map(\.summary) == Array(repeating: "failed 5.4.6", count: 20))
        service.stop(grace: .zero)
    }

    @Test(
        "A host of the configuration may be this machine, the address of a literal may not",
        arguments: [(true, "relayed 2.0.0"), (false, "failed 5.4.6")])
    func addresses(isRoute: Bool, summary: String) throws {
        let server = try ScriptedServer(ScriptedServer.polite())
        var settings = try settings()
        settings.listeningAddresses = [SocketAddress(host: .v4(0), port: server.address.port)]
        if isRoute {
            let target = DeliveryRoute.Target("smtp://127.0.0.1:\(server.address.port)")
            settings.routes = [DeliveryRoute(.all, try #require(target))]
        }
        let store = MemoryStore()
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        service.deliver([
            try store.add(1, destination: "smtp:[127.0.0.1]:\(server.address.port)")
        ])
        #expect(try store.take(1).map(\.summary) == [summary])
        service.stop(grace: .zero)
    }
}
