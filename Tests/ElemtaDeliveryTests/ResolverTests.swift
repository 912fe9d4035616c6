import ElemtaSMTP
import ElemtaThreads
import Testing

@testable import ElemtaDelivery

@Suite(.enabled(if: NameServer.program != nil, "nsd isn't installed"))
struct ResolverTests {
    private static let zone = """
        $TTL 300
        @ SOA ns hostmaster 1 3600 600 86400 300
        @ NS ns
        ns A 127.0.0.1
        two MX 20 b
        two MX 10 a
        a A 192.0.2.1
        a AAAA 2001:db8::1
        b A 192.0.2.2
        alias CNAME two
        plain A 192.0.2.3
        null MX 0 .
        nowhere MX 10 missing
        text TXT "no address"
        ours MX 10 us
        ours MX 20 b
        xn--bcher-kva MX 5 a
        """

    static func ownHosts() throws -> OwnHosts {
        OwnHosts(DeliverySettings(hostname: try #require(Domain("us.example.com"))))
    }

    /// All questions to one server: its start is what takes time.
    @Test func anAuthoritativeServerIsAsked() throws {
        let server = try NameServer(zones: ["example.com": Self.zone, "example.test": Self.zone])
        let resolver = try Resolver(
            servers: ["127.0.0.1:\(server.port)"], ownHosts: try Self.ownHosts())
        defer { resolver.stop() }
        let expected: [(String, String)] = [
            (
                "two.example.com",
                "10 a.example.com 2001:db8::1 192.0.2.1; 20 b.example.com 192.0.2.2; 300 s"
            ),
            (
                "alias.example.com",
                "10 a.example.com 2001:db8::1 192.0.2.1; 20 b.example.com 192.0.2.2; 300 s"
            ),
            ("plain.example.com", "0 plain.example.com 192.0.2.3; 300 s"),
            ("null.example.com", "nullMX"), ("none.example.com", "noSuchDomain"),
            ("nowhere.example.com", "noAddress"), ("text.example.com", "noAddress"),
            // Ourselves, without an address.
            ("ours.example.com", "loop"),
            ("bücher.example.com", "5 a.example.com 2001:db8::1 192.0.2.1; 300 s"),
            // Not NXDOMAIN, which libunbound has for .test by itself.
            ("plain.example.test", "0 plain.example.test 192.0.2.3; 300 s"),
            // The server answers REFUSED for what it doesn't know.
            ("example.net", "noAnswer(\"DNS error 2\")"),
        ]
        let answers = Inbox<(String, Resolution)>()
        for (name, _) in expected {
            let domain = try #require(Domain(name))
            resolver.find(RemoteServer(.mailExchangers(of: domain))) { answers.post((name, $0)) }
        }
        var found: [String: String] = [:]
        while found.count < expected.count {
            guard case .elements(let some) = answers.take(within: .seconds(60)) else {
                Issue.record("only \(found)")
                return
            }
            for (name, resolution) in some {
                found[name] = HostLookupTests.describe(resolution)
            }
        }
        for (name, outcome) in expected { #expect(found[name] == outcome, "\(name)") }
    }
}

struct ResolverSettingsTests {
    @Test(
        "A name server is an address with or without a port",
        arguments: [
            ("127.0.0.1:5353", true), ("127.0.0.1", true), ("[::1]:5353", true), ("::1", true),
            ("localhost", false), ("", false), ("127.0.0.1:x", false), ("127.0.0.1:0", false),
        ])
    func servers(text: String, isGood: Bool) throws {
        let ownHosts = try ResolverTests.ownHosts()
        do throws(DeliveryError) {
            let resolver = try Resolver(servers: [text], ownHosts: ownHosts)
            resolver.stop()
            #expect(isGood)
        } catch {
            #expect(error == .dnsServer(text) && !isGood)
        }
    }

    @Test func theHostsFileIsHonoured() throws {
        let resolver = try Resolver(
            servers: ["127.0.0.1:1"], ownHosts: try ResolverTests.ownHosts())
        defer { resolver.stop() }
        let answers = Inbox<Resolution>()
        let domain = try #require(Domain("localhost"))
        resolver.find(RemoteServer(.mailExchangers(of: domain))) { answers.post($0) }
        guard case .hosts(let hosts, _) = answers.takeOne() else {
            Issue.record("localhost isn't found")
            return
        }
        #expect(hosts.first?.addresses.contains { $0.isLoopback } == true)
    }
}
