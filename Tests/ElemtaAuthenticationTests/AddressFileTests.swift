import ElemtaSMTP
import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaAuthentication

@Suite("Address file") struct AddressFileTests {
    private func read(_ text: String) throws(FileErrors) -> AddressTable {
        try AddressTable.parse(Array(text.utf8), path: "addresses")
    }

    private func problems(_ octets: [UInt8]) -> [String] {
        do throws(FileErrors) {
            _ = try AddressTable.parse(octets, path: "addresses")
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    /// `line` or `line -> target target`; nil where nobody is found.
    private func find(_ address: String, in table: AddressTable) throws -> String? {
        let mailbox = try #require(Mailbox(address), "\(address)")
        return table.find(mailbox).map { match in
            let targets = match.targets.map {
                " -> " + $0.map(\.description).joined(separator: " ")
            }
            return "\(match.line)\(targets ?? "")"
        }
    }

    @Test("addresses, local parts and aliases are found, whatever their case and quotes")
    func forms() throws {
        let table = try read(
            """
            # who is here
            alice
              Bob   # with a comment
            carol@other.example
            "dave #1"@example.com
            sales: alice, erin@example.net,  # two of them
                frank
            "odd,name:x": alice
            a#b
            info@example.com: alice
            info: bob
            jörg
            literal@[IPv6:2001:db8::1]: alice@[192.0.2.1]\r
            """)
        #expect(table.count == 11)
        let expected: [(String, String?)] = [
            ("alice@example.com", "2"), ("ALICE@EXAMPLE.COM", "2"), ("alice@any.example", "2"),
            ("\"alice\"@example.com", "2"), ("\"al\\ice\"@example.com", "2"),
            ("bob@example.com", "3"), ("carol@example.com", nil), ("carol@other.example", "4"),
            ("\"dave #1\"@example.com", "5"), ("\"dave #1\"@other.example", nil),
            (
                "Sales@example.com",
                "6 -> alice@example.com erin@example.net frank@example.com"
            ),
            ("\"odd,name:x\"@example.com", "8 -> alice@example.com"), ("a#b@example.com", "9"),
            ("info@example.com", "10 -> alice@example.com"),
            ("info@other.example", "11 -> bob@other.example"), ("jörg@example.com", "12"),
            ("literal@[IPv6:2001:DB8:0::1]", "13 -> alice@[192.0.2.1]"),
            ("nobody@example.com", nil), ("ali@example.com", nil), ("#@example.com", nil),
        ]
        for (address, match) in expected {
            #expect(try find(address, in: table) == match, "\(address)")
        }
    }

    @Test("what follows the first + is a tag, unless the whole local part is listed")
    func subaddresses() throws {
        let table = try read("alice\nalice+news: bob\nlist+\nsales: alice\n")
        let expected: [(String, String?)] = [
            ("alice+@example.com", "1"), ("alice+x+y@example.com", "1"),
            ("Alice+News@example.com", "2 -> bob@example.com"), ("list+@example.com", "3"),
            ("list+x@example.com", nil), ("list@example.com", nil), ("+alice@example.com", nil),
            ("sales+x@example.com", "4 -> alice@example.com"),
        ]
        for (address, match) in expected {
            #expect(try find(address, in: table) == match, "\(address)")
        }
    }

    @Test("the catch-all is for everybody who isn't listed")
    func catchAll() throws {
        let table = try read("alice\n*@b.example: bob@c.example\n*: alice\n")
        let expected: [(String, String?)] = [
            ("alice@a.example", "1"), ("x@a.example", "3 -> alice@a.example"),
            ("x+y@b.example", "2 -> bob@c.example"),
        ]
        for (address, match) in expected {
            #expect(try find(address, in: table) == match, "\(address)")
        }
        #expect(try find("anybody@a.example", in: read("*")) == "1")
    }

    @Test("aliases of a domain are listed in their order, and nobody else's")
    func aliases() throws {
        let table = try read("z: alice\na@b.example: alice\nalice\n\"x y\": alice\n*: alice\n")
        let domain = try #require(Domain("c.example"))
        #expect(
            table.aliases(of: domain).map(\.description)
                == ["z@c.example", "\"x y\"@c.example", "*@c.example"])
    }

    @Test("mistakes are refused with their line")
    func mistakes() {
        let name = "an address, a local part, \"*\" or alias: target, target"
        let target = "a target that is an address or a local part"
        let table: [(text: String, problems: [String])] = [
            ("", ["addresses: is empty; allowed: addresses, or a comment where there are none"]),
            (
                " \n\t\r\n",
                ["addresses: is empty; allowed: addresses, or a comment where there are none"]
            ),
            ("# nobody\n", []),
            ("alice\n\nalice bob", ["addresses:3: found \"alice bob\"; allowed: \(name)"]),
            ("a@b@c", ["addresses:1: found \"a@b@c\"; allowed: \(name)"]),
            ("*x", ["addresses:1: found \"*x\"; allowed: \(name)"]),
            ("*@", ["addresses:1: found \"*@\"; allowed: \(name)"]),
            (": alice", ["addresses:1: found \"\"; allowed: \(name)"]),
            ("a:", ["addresses:1: found \"\"; allowed: \(target)"]),
            ("a: b,, c", ["addresses:1: found \"\"; allowed: \(target)"]),
            ("a: |run, b", ["addresses:1: found \"|run\"; allowed: \(target)"]),
            ("a: /dev/null", ["addresses:1: found \"/dev/null\"; allowed: \(target)"]),
            ("a: :include:/x", ["addresses:1: found \":include:/x\"; allowed: \(target)"]),
            ("a: *", ["addresses:1: found \"*\"; allowed: \(target)"]),
            ("a: b,\n# end\n", ["addresses:1: ends with a comma, and nothing follows"]),
            ("\"open", ["addresses:1: found \"\\\"open\"; allowed: \(name)"]),
            (
                "alice\nAlice: bob\n\"alice\"",
                [
                    "addresses:2: found \"Alice\" twice; it is in line 1 already",
                    "addresses:3: found \"\\\"alice\\\"\" twice; it is in line 1 already",
                ]
            ),
            ("a@example.com\na", []),
        ]
        for (text, expected) in table {
            #expect(problems(Array(text.utf8)) == expected, "\(text)")
        }
        #expect(problems([0xFF, 0xFE, 0x0A]).count == 1)
    }

    @Test("hostile files are refused in bounded time and with a bounded number of errors")
    func hostile() {
        let size = 1 << 20
        let table = [
            "x x\n", "\"", "[", "a,", "a:a,", ",", ":", "#", "x:\n", "a: b,\n", "\0", "@",
        ]
        for piece in table {
            let text = String(repeating: piece, count: size / piece.utf8.count)
            var found: [String] = []
            let taken = ContinuousClock().measure { found = problems(Array(text.utf8)) }
            #expect(found.count <= FileFindings.maximumCount, "\(piece)")
            #expect(found.allSatisfy { $0.utf8.count < 1000 }, "\(piece)")
            #expect(taken < .seconds(30), "\(piece) took \(taken)")
        }
        let targets = (0...AddressTable.maximumTargets).map { "u\($0)" }
        let alias = { (count: Int) in "a: \(targets.prefix(count).joined(separator: ","))\n" }
        #expect(problems(Array(alias(AddressTable.maximumTargets).utf8)) == [])
        #expect(
            problems(Array(alias(AddressTable.maximumTargets + 1).utf8))
                == ["addresses:1: found more targets than 1000 of one alias"])
    }

    @Test("is read again when it changes, and what was known stays when it became wrong")
    func reload() throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("addresses", "alice")
        let events = Inbox<WatchedFileEvent>()
        let file = try AddressFile(path) { events.post($0) }
        #expect(try find("alice@example.com", in: file.table) == "1")
        try folder.file("addresses", "bob\ncarol")
        file.reloadIfChanged()
        guard case .reloaded(count: 2, warnings: []) = events.takeOne() else {
            Issue.record("no word of the new addresses")
            return
        }
        #expect(try find("alice@example.com", in: file.table) == nil)
        for step in ["dave dave", "", "gone"] {
            if step == "gone" { unsafe unlink(path) } else { try folder.file("addresses", step) }
            for _ in 0..<2 { file.reloadIfChanged() }
            guard case .refused = events.takeOne(), events.count == 0 else {
                Issue.record("no word of the mistake in \(step)")
                return
            }
            #expect(try find("bob@example.com", in: file.table) == "1")
        }
    }
}
