import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

struct HostLookupTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let name: String
        let answers: [String: DNSAnswer]
        let outcome: String

        init(_ name: String, _ answers: [String: DNSAnswer], _ outcome: String) {
            self.name = name
            self.answers = answers
            self.outcome = outcome
        }

        var testDescription: String { name }
    }

    private static func mx(_ hosts: (UInt16, String?)...) -> DNSAnswer {
        .records(
            hosts.map { .mailExchanger(preference: $0.0, host: $0.1) }, secondsToLive: 100)
    }

    private static func addresses(_ list: String...) -> DNSAnswer {
        .records(list.compactMap { IPAddress($0).map { .address($0) } }, secondsToLive: 50)
    }

    static let rows: [Row] = [
        Row(
            "by preference",
            [
                "d 15": mx((20, "b"), (10, "a")), "a 1": addresses("192.0.2.1"),
                "b 1": addresses("192.0.2.2"), "b 28": addresses("2001:db8::2"),
            ], "10 a 192.0.2.1; 20 b 2001:db8::2 192.0.2.2; 50 s"),
        Row("no MX: the domain itself", ["d 1": addresses("192.0.2.1")], "0 d 192.0.2.1; 50 s"),
        Row("no MX, no address", ["d 28": .noRecords], "noAddress"),
        Row(
            "no MX and no such host", ["d 1": .noSuchName, "d 28": .noSuchName], "noSuchDomain"),
        Row("no such domain", ["d 15": .noSuchName], "noSuchDomain"),
        Row("no answer", ["d 15": .failure("x")], "noAnswer(\"x\")"),
        Row("null MX", ["d 15": mx((0, nil))], "nullMX"),
        Row(
            "null MX beside a host",
            ["d 15": mx((0, nil), (5, "a")), "a 1": addresses("192.0.2.1")],
            "5 a 192.0.2.1; 50 s"),
        Row("hosts without addresses", ["d 15": mx((5, "a"))], "noAddress"),
        Row(
            "hosts that aren't there",
            ["d 15": mx((5, "a")), "a 1": .noSuchName, "a 28": .noSuchName], "noAddress"),
        Row(
            "one host unknown for now", ["d 15": mx((5, "a")), "a 1": .failure("x")],
            "noAnswer(\"x\")"),
        Row(
            "one host unknown, another found",
            ["d 15": mx((5, "a"), (6, "b")), "a 1": .failure("x"), "b 1": addresses("192.0.2.2")],
            "6 b 192.0.2.2; 50 s"),
        Row(
            "ourselves, unknown for now, before another",
            [
                "d 15": mx((5, "us"), (6, "b")), "us 1": .failure("x"),
                "b 1": addresses("192.0.2.2"),
            ],
            "loop"),
        Row(
            "ourselves, unknown for now, among others",
            [
                "d 15": mx((4, "a"), (5, "us"), (5, "b"), (6, "c")), "us 1": .failure("x"),
                "a 1": addresses("192.0.2.1"), "b 1": addresses("192.0.2.2"),
                "c 1": addresses("192.0.2.3"),
            ], "4 a 192.0.2.1; 50 s"),
        Row(
            "all before ourselves unknown for now",
            [
                "d 15": mx((4, "a"), (5, "us")), "a 1": .failure("x"),
                "us 1": addresses("192.0.2.2"),
            ],
            "noAnswer(\"x\")"),
        Row("only unreadable MX", ["d 15": .records([], secondsToLive: 1)], "noAddress"),
    ]

    @Test("What DNS says decides who is tried, or why nobody", arguments: rows)
    func outcome(row: Row) throws {
        let domain = try #require(Domain("d"))
        #expect(Self.find(.mailExchangers(of: domain), row.answers) == row.outcome)
    }

    @Test func aHostIsNotAskedForItsExchangers() throws {
        let domain = try #require(Domain("d"))
        let answers = ["d 15": Self.mx((1, "a")), "d 1": Self.addresses("192.0.2.7")]
        #expect(Self.find(.host(domain), answers) == "0 d 192.0.2.7; 50 s")
    }

    @Test func thousandsOfHostsAreCutToAFew() throws {
        let domain = try #require(Domain("d"))
        var asked = 0
        var found: [MailHost] = []
        let lookup = HostLookup(
            ask: { _, type, completion in
                asked += 1
                let many = (0..<1_000).map { number in
                    type == .mailExchanger
                        ? DNSRecord.mailExchanger(preference: UInt16(number), host: "h\(number)")
                        : .address(IPAddress(v4: UInt32(number)))
                }
                completion(.records(many, secondsToLive: 1))
            },
            isOwn: { _ in false },
            completion: { if case .hosts(let hosts, _) = $0 { found = hosts } })
        lookup.start(.mailExchangers(of: domain))
        #expect(asked == 1 + 2 * HostLookup.maximumHosts)
        #expect(found.map(\.name) == (0..<8).map { "h\($0)" })
        #expect(found.allSatisfy { $0.addresses.count == HostLookup.maximumAddressesPerHost })
    }

    @Test func aBackupBehindManyEqualHostsIsAskedFor() throws {
        let records =
            (0..<30).map { DNSRecord.mailExchanger(preference: 10, host: "h\($0)") } + [
                .mailExchanger(preference: 20, host: "backup")
            ]
        var asked: Set<String> = []
        let lookup = HostLookup(
            ask: { name, type, completion in
                if type != .mailExchanger { asked.insert(name) }
                completion(
                    type == .mailExchanger ? .records(records, secondsToLive: 1) : .noRecords)
            },
            isOwn: { _ in false }, completion: { _ in })
        lookup.start(.mailExchangers(of: try #require(Domain("d"))))
        #expect(asked.count == HostLookup.maximumHosts)
        #expect(asked.contains("backup"))
    }

    @Test(
        "Of many the first of each preference is among the few",
        arguments: [
            ([1, 1, 1, 1], [1, 1, 1]), ([1, 1, 1, 2], [1, 1, 2]), ([1, 1, 1, 2, 2, 3], [1, 2, 3]),
            // Those that failed a moment ago come last.
            ([2, 2, 2, 2, 1], [2, 2, 1]), ([4, 3, 2, 1], [3, 2, 1]), ([1, 2], [1, 2]),
        ] as [([UInt16], [UInt16])])
    func prefixes(all: [UInt16], few: [UInt16]) {
        #expect(all.prefix(3, reachingEach: \.self) == few)
    }

    private static func find(
        _ host: RemoteServer.Host, _ answers: [String: DNSAnswer]
    ) -> String {
        var outcomes: [String] = []
        let lookup = HostLookup(
            ask: { name, type, completion in
                completion(answers["\(name) \(type.rawValue)"] ?? .noRecords)
            },
            isOwn: { $0 == "us" },
            completion: { outcomes.append(describe($0)) })
        lookup.start(host)
        lookup.giveUp()
        return outcomes.joined(separator: " and ")
    }

    static func describe(_ resolution: Resolution) -> String {
        switch resolution {
        case .failed(let failure): return "\(failure)"
        case .hosts(let hosts, let seconds):
            let list = hosts.map { host in
                "\(host.preference) \(host.name) "
                    + host.addresses.map(\.description).joined(separator: " ")
            }
            return list.joined(separator: "; ") + "; \(seconds) s"
        }
    }

    @Test(
        "The data of a record",
        arguments: [
            (DNSRecordType.address, [192, 0, 2, 1], "address(192.0.2.1)"),
            (.address, [192, 0, 2], "nil"), (.address6, [1, 2, 3], "nil"),
            (.mailExchanger, [0, 10, 1, 65, 2, 99, 111, 0], "10 a.co"),
            (.mailExchanger, [0, 0, 0], "0 nil"), (.mailExchanger, [0, 0], "nil"),
            (.mailExchanger, [0, 10, 3, 65, 66], "nil"),
            (.mailExchanger, [0, 10, 1, 10, 0], "nil"),
            (.mailExchanger, [0, 10, 1, 65], "nil"), (.mailExchanger, [0, 10, 192, 12], "nil"),
        ] as [(DNSRecordType, [UInt8], String)])
    func recordData(type: DNSRecordType, data: [UInt8], text: String) {
        switch DNSRecord(type, data: data.span) {
        case .address(let address): #expect("address(\(address))" == text)
        case .mailExchanger(let preference, let host):
            #expect("\(preference) \(host ?? "nil")" == text)
        case nil: #expect(text == "nil")
        }
    }
}
