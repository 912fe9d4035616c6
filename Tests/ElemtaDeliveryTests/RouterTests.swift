import ElemtaQueue
import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

struct RouterTests {
    private func router(_ routes: [(String, String)], relayHost: String? = nil) throws -> Router {
        let own = try #require(Domain("mail.example.org"))
        let parsed = try routes.map { pattern, target in
            DeliveryRoute(
                try #require(DeliveryRoute.Pattern(pattern)),
                try #require(DeliveryRoute.Target(target)))
        }
        return Router(
            routes: parsed, relayHost: relayHost.flatMap { RemoteServer(relayHost: $0) },
            ownDomain: own)
    }

    private func destination(_ address: String, _ router: Router) throws -> String {
        router.destination(for: .mailbox(try #require(Mailbox(address)))).name
    }

    @Test(
        "The first route that matches wins",
        arguments: [
            ("a@example.com", "smtp:[127.0.0.1]:2600"), ("a@EXAMPLE.COM", "smtp:[127.0.0.1]:2600"),
            ("a@sub.example.com", "smtp:inner.example.net:25"),
            ("a@a.b.example.com", "smtp:inner.example.net:25"),
            ("a@notexample.com", "discard"), ("a@late.example.net", "mx:late.example.net"),
            ("a@other.example.net", "discard"), ("a@[192.0.2.1]", "discard"),
            ("a@early.example.net", "discard"),
        ])
    func firstMatchWins(address: String, name: String) throws {
        let router = try router([
            ("example.com", "smtp://127.0.0.1:2600"), (".example.com", "smtp://inner.example.net"),
            ("example.com", "discard"), ("late.example.net", "mx"), ("*", "discard"),
            ("early.example.net", "mx"),
        ])
        #expect(try destination(address, router) == name)
    }

    @Test(
        "Without a route it's relay_host, without that the domain's own servers",
        arguments: [
            ("a@example.com", nil, "mx:example.com"),
            ("a@example.com", "relay.example.net:587", "mx:relay.example.net:587"),
            ("a@example.com", "[relay.example.net]:587", "smtp:relay.example.net:587"),
            ("a@example.com", "10.0.0.5", "smtp:[10.0.0.5]:25"),
            ("a@example.com", "[10.0.0.5]:26", "smtp:[10.0.0.5]:26"),
            ("a@example.com", "[2001:db8::1]:26", "smtp:[2001:db8::1]:26"),
            ("a@[192.0.2.1]", nil, "smtp:[192.0.2.1]:25"),
            ("a@[IPv6:2001:db8::1]", nil, "smtp:[2001:db8::1]:25"),
            ("a@bücher.example", nil, "mx:bücher.example"),
        ])
    func withoutRoute(address: String, relayHost: String?, name: String) throws {
        #expect(try destination(address, router([], relayHost: relayHost)) == name)
    }

    @Test func postmasterWithoutDomainIsAtHome() throws {
        #expect(try router([]).destination(for: .postmaster).name == "mx:mail.example.org")
    }

    @Test(
        "A destination's name leads back to its next hop",
        arguments: [
            NextHop.discard,
            .smtp(RemoteServer(.address(IPAddress(v4: 0x7F00_0001)), port: 2_600)),
            .smtp(RemoteServer(.address(IPAddress(v6High: 0x2001_0DB8 << 32, v6Low: 1)))),
        ]
            + [Domain("bücher.example"), Domain("mail.example.com")].compactMap { $0 }.flatMap {
                [
                    .smtp(RemoteServer(.host($0), port: 1)),
                    .smtp(RemoteServer(.mailExchangers(of: $0))),
                    .smtp(RemoteServer(.mailExchangers(of: $0), port: 587)),
                ]
            })
    func namesLeadBack(hop: NextHop) {
        #expect(NextHop(destinationName: hop.destinationName) == hop)
    }

    @Test(
        "What is no server isn't taken for one",
        arguments: [
            "", ":25", "host:", "host:0", "host:65536", "host:+1", "host:25:25", "[host", "a b",
            "[]:25", "host:2 5",
        ])
    func noServer(text: String) {
        #expect(RemoteServer(relayHost: text) == nil)
        #expect(DeliveryRoute.Target("smtp://" + text) == nil)
    }

    @Test(
        "What is no route target", arguments: ["", "MX", "lmtp://a:24", "maildir:///x", "smtp:a"])
    func noTarget(text: String) {
        #expect(DeliveryRoute.Target(text) == nil)
    }

    @Test(
        "U-labels are asked for as A-labels",
        arguments: [
            ("example.com", "example.com"), ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"), ("例え.jp", "xn--r8jz45g.jp"),
            ("münchen.straße.de", "xn--mnchen-3ya.xn--strae-oqa.de"),
            ("他们为什么不说中文.example", "xn--ihqwcrb4cv8a8dqg056pqjye.example"),
            ("[192.0.2.1]", nil),
        ])
    func asciiNames(text: String, name: String?) throws {
        let domain = try #require(Domain(text))
        #expect(DomainNameEncoding.asciiName(of: domain) == name)
    }
}
