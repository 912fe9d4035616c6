import ElemtaSMTP
import Testing

@testable import ElemtaConfiguration

@Suite("Values")
struct ValueTests {
    @Test("listen addresses are read back as they were written, and nothing else is one")
    func listenAddresses() {
        for text in [":2525", ":0", "127.0.0.1:25", "[::1]:65535", "[::]:25", "0.0.0.0:25"] {
            #expect(Configuration.ListenAddress(text)?.description == text)
        }
        for text in [
            "", ":", "25", "127.0.0.1", "::1:25", "[127.0.0.1]:25", "[::1]", "[::1]25",
            "localhost:25", ":65536", ":-1", ":+25", ": 25", ":25 ", "*:25", "[::1:25", "a:b:c",
            "300.0.0.1:25",
        ] {
            #expect(Configuration.ListenAddress(text) == nil, "\(text)")
        }
    }

    @Test("a relay host says whether an MX look-up is wanted")
    func relayHosts() {
        let table: [(String, String?)] = [
            ("smtp.example.net:587", "smtp.example.net:587"),
            ("smtp.example.net", "smtp.example.net:25"),
            ("[smtp.example.net]:587", "[smtp.example.net]:587"),
            ("[smtp.example.net]", "[smtp.example.net]:25"),
            ("[10.0.0.5]:25", "10.0.0.5:25"),
            ("10.0.0.5:26", "10.0.0.5:26"),
            ("10.0.0.5", "10.0.0.5:25"),
            ("2001:db8::1", "[2001:db8::1]:25"),
            ("[2001:db8::1]:26", "[2001:db8::1]:26"),
            ("host:0", nil), ("host:", nil), (":25", nil), ("[]:25", nil), ("a b:25", nil),
            ("10.0.0.999:25", nil), ("host:25:25", nil), ("smtp://host", nil),
        ]
        for (text, expected) in table {
            let hop = Configuration.NextHop(relayHost: text)
            #expect(hop?.description == expected, "\(text)")
        }
        #expect(
            Configuration.NextHop(relayHost: "a.example").map {
                if case .exchangers = $0.host { true } else { false }
            } == true)
    }

    @Test("a route's delivery is read back as it was written, and nothing else is one")
    func deliveryMethods() {
        for text in [
            "smtp://127.0.0.1:2600", "smtp://mail.example.com:26", "smtp://[2001:db8::1]:25",
            "lmtp://127.0.0.1:24", "lmtp+unix:///run/dovecot/lmtp", "mx", "discard",
            "maildir:///var/mail/{domain}/{local}", "maildir:///var/mail/{domain}/{local}/",
        ] {
            #expect(Configuration.DeliveryMethod(text)?.description == text)
        }
        #expect(Configuration.DeliveryMethod("smtp://host")?.description == "smtp://host:25")
        for text in [
            "", "MX", "smtp", "smtp:", "smtp://", "smtp://:25", "smtp://host:0", "smtp://host:x",
            "smtp://user@host:25", "smtp://host:25/", "smtp://::1:25", "smtp://[host]:25",
            "lmtp://host", "lmtp://host:25", "lmtp+unix://run/x", "lmtp+unix:///", "http://host",
            "maildir://mail", "maildir:///", "maildir:///mail/{user}", "maildir:///mail/{local",
            "maildir:///mail/../{local}", "maildir:///.", "maildir:///mail/./{local}",
            "maildir:///mail/\0/{local}", "lmtp+unix:///run/lmtp\0", "lmtp+unix:///run/",
            "smtp://10.0.0.256:25",
        ] {
            #expect(Configuration.DeliveryMethod(text) == nil, "\(text)")
        }
    }

    @Test("rates")
    func rates() {
        #expect(Configuration.Rate("100/60s") == .init(count: 100, seconds: 60))
        for text in ["", "100", "100/60", "0/60s", "100/0s", "-1/60s", "1/+6s", "1/2/3s", "1/s"] {
            #expect(Configuration.Rate(text) == nil, "\(text)")
        }
    }

    @Test("domain patterns match, and cover each other")
    func domainPatterns() throws {
        let table: [(pattern: String, other: String, covers: Bool)] = [
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "a.example.com", false),
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", false),
            (".example.com", "badexample.com", false),
            (".example.com", ".a.example.com", true),
            (".a.example.com", ".example.com", false),
            (".example.com", ".example.com", true),
            ("example.com", ".example.com", false),
            ("*", "example.com", true),
            ("*", ".example.com", true),
            ("*", "*", true),
            (".com", "*", false),
            ("[192.0.2.1]", "[192.0.2.1]", true),
        ]
        for (text, other, covers) in table {
            let pattern = try #require(Configuration.DomainPattern(text))
            let second = try #require(Configuration.DomainPattern(other))
            #expect(pattern.covers(second) == covers, "\(text) \(other)")
            if case .exact(let domain) = second { #expect(pattern.matches(domain) == covers) }
        }
        for text in ["", ".", "..com", "a..b", "*.example.com", ".[192.0.2.1]", "a b"] {
            #expect(Configuration.DomainPattern(text) == nil, "\(text)")
        }
    }

    @Test("DNS servers")
    func serverAddresses() {
        let table: [(String, String?)] = [
            ("127.0.0.1", "127.0.0.1:53"), ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"), ("[::1]:54", "[::1]:54"), ("[::1]", "[::1]:53"),
            ("[127.0.0.1]:53", nil), ("dns.example", nil), ("127.0.0.1:0", nil), ("", nil),
        ]
        for (text, expected) in table {
            let server = Configuration.ServerAddress(text, defaultPort: 53)
            #expect(server?.description == expected, "\(text)")
        }
    }

    @Test("the edit distance counts a swap as one")
    func editDistances() {
        let table: [(String, String, Int)] = [
            ("queue", "queue", 0), ("quee", "queue", 1), ("queeu", "queue", 1), ("", "abc", 3),
            ("abc", "", 3), ("max_worker", "max_workers", 1), ("hostname", "http", 6),
            ("ab", "ba", 1), ("tls", "", 3),
        ]
        for (written, known, distance) in table {
            #expect(editDistance(written, known) == distance, "\(written) \(known)")
        }
    }
}
