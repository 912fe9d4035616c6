import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

struct RouterTests {
    private func router(
        _ routes: [(String, String)], tls: ClientTLSPolicy = .opportunistic,
        relayHost: String? = nil, _ change: (inout DeliverySettings) -> Void = { _ in }
    ) throws -> Router {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.routes = try routes.map { pattern, target in
            DeliveryRoute(
                try #require(DeliveryRoute.Pattern(pattern)),
                try #require(DeliveryRoute.Target(target)), tls: tls)
        }
        settings.relayHost = relayHost.flatMap { RemoteServer(relayHost: $0) }
        change(&settings)
        return Router(settings)
    }

    private func destination(
        _ address: String, _ router: Router, _ demand: TransportDemand = .none
    ) throws -> String {
        router.destination(for: .mailbox(try #require(Mailbox(address))), demand: demand).name
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
        #expect(
            try router([]).destination(for: .postmaster, demand: .none).name
                == "mx:mail.example.org")
    }

    @Test(
        "What a route and a message ask of TLS is in the destination's name",
        arguments: [
            (.off, .none, "+off"), (.off, .tls, "+requiretls"), (.off, .delivery, "+off"),
            (.opportunistic, .none, ""), (.opportunistic, .tls, "+requiretls"),
            (.opportunistic, .delivery, ""), (.required, .none, "+required"),
            (.required, .tls, "+requiretls"), (.required, .delivery, ""),
        ] as [(ClientTLSPolicy, TransportDemand, String)])
    func transportSecurity(tls: ClientTLSPolicy, demand: TransportDemand, word: String) throws {
        for (target, name) in [
            ("mx", "mx\(word):example.com"), ("smtp://a.example", "smtp\(word):a.example:25"),
            ("lmtp://mail.example:24", "lmtp\(word):mail.example:24"), ("discard", "discard"),
        ] {
            let router = try router([("*", target)], tls: tls)
            #expect(try destination("a@example.com", router, demand) == name)
        }
    }

    @Test(
        "A mailbox on this machine is the end of the way: what requires TLS needs none there",
        arguments: [
            ("lmtp://127.0.0.1:24", "lmtp:[127.0.0.1]:24"), ("lmtp://[::1]:24", "lmtp:[::1]:24"),
            ("lmtp://localhost:24", "lmtp:localhost:24"),
            ("lmtp+unix:///run/dovecot/lmtp", "lmtp+unix:/run/dovecot/lmtp"),
            ("maildir:///var/mail/{domain}/{local}", "maildir:/var/mail/{domain}/{local}"),
        ])
    func localMailboxes(target: String, name: String) throws {
        let router = try router([("*", target)])
        for demand in [TransportDemand.none, .tls, .delivery] {
            #expect(try destination("a@example.com", router, demand) == name)
        }
        let sayingSMTP = try self.router([("*", "smtp://127.0.0.1:24")])
        #expect(
            try destination("a@example.com", sayingSMTP, .tls) == "smtp+requiretls:[127.0.0.1]:24")
    }

    @Test(
        "The relay host's own terms hold for it alone",
        arguments: [
            (TransportDemand.none, "smtp+login+required:relay.example:587"),
            (.tls, "smtp+login+requiretls:relay.example:587"),
            // The field is for the recipient's side; the relay host reads it too.
            (.delivery, "smtp+login+required:relay.example:587"),
        ])
    func relayTerms(demand: TransportDemand, name: String) throws {
        let credentials = try #require(SASLCredentials(user: "me", password: [0x78]))
        let router = try router(
            [("example.com", "smtp://relay.example:587")], relayHost: "[relay.example]:587"
        ) {
            $0.relayTLS = .required
            $0.relayLogin = ClientLogin(credentials)
        }
        #expect(try destination("a@example.net", router, demand) == name)
        #expect(try destination("a@example.com", router) == "smtp:relay.example:587")
    }

    static let hops: [NextHop] =
        [
            .smtp(RemoteServer(.address(IPAddress(v4: 0x7F00_0001)), port: 2_600)),
            .smtp(RemoteServer(.address(IPAddress(v6High: 0x2001_0DB8 << 32, v6Low: 1)))),
            .lmtp(RemoteServer(.address(IPAddress(v4: 0x7F00_0001)), port: 24)),
        ]
        + [Domain("bücher.example"), Domain("mail.example.com"), Domain("127.1")].compactMap { $0 }
        .flatMap {
            [
                .smtp(RemoteServer(.host($0), port: 1)),
                .lmtp(RemoteServer(.host($0), port: 24)),
                .smtp(RemoteServer(.mailExchangers(of: $0))),
                .smtp(RemoteServer(.mailExchangers(of: $0), port: 587)),
            ]
        }

    @Test("A destination's name leads back to its next hop and its terms", arguments: hops)
    func namesLeadBack(hop: NextHop) {
        for tls in [ClientTLSPolicy.off, .opportunistic, .required, .requireTLS] {
            for logsIn in [false, true] {
                let terms = DeliveryTerms(hop: hop, tls: tls, logsIn: logsIn)
                #expect(DeliveryTerms(name: terms.name) == terms)
            }
        }
    }

    @Test(
        "The destination of a domain of numbers never leads to an address",
        arguments: ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "10.0.0.5"])
    func addressesWithoutBrackets(text: String) throws {
        let name = try destination("a@\(text)", router([]))
        #expect(name == "mx:\(text)")
        let domain = try #require(Domain(text))
        #expect(
            DeliveryTerms(name: name)?.hop == .smtp(RemoteServer(.mailExchangers(of: domain))))
    }

    @Test(
        "So does one that there are no terms for",
        arguments: ["discard", "lmtp+unix:/run/a:b+c/lmtp", "maildir:/mail/{domain}/x:{local}"])
    func namesWithoutTermsLeadBack(name: String) throws {
        let terms = try #require(DeliveryTerms(name: name))
        #expect(terms.name == name)
        #expect(DeliveryTerms(hop: terms.hop, tls: .required).name == name)
    }

    @Test(
        "What is no destination's name leads nowhere",
        arguments: [
            "", "smtp", "smtp:", "lmtp+unix:a:24", "lmtp+unix+off:/a", "smtp+unix:/a", "lmtp:",
            "maildir:mail", "maildir+off:/mail/{local}", "smtp+tls:a:25", "smtp+:a:25",
            "mx+required+login:a",
            "mx+off+required:a", "discarded",
        ])
    func noName(name: String) {
        #expect(DeliveryTerms(name: name) == nil)
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
        "What is no route target",
        arguments: [
            "", "MX", "lmtp://", "lmtp+unix://run/lmtp", "maildir://x", "maildir:///", "smtp:a",
            "http://a",
        ])
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

    @Test(
        "What inet_aton(3) would take for an address is a name",
        arguments: ["1.2", "127.1", "1", "0x7f.1", "0177.0.0.1", "2130706433", "192.0.2.01"])
    func numericDomains(text: String) throws {
        let domain = try #require(Domain(text))
        #expect(RemoteServer(mailDomain: domain).host == .mailExchangers(of: domain))
        #expect(RemoteServer(relayHost: "\(text):26")?.host == .mailExchangers(of: domain))
        #expect(RemoteServer(authority: text)?.host == .host(domain))
        #expect(DomainNameEncoding.asciiName(of: domain) == text)
        #expect(SocketAddress(text + ":25") == nil)
    }
}
