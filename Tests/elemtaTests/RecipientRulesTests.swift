import ElemtaConfiguration
import ElemtaSMTP
import Testing

@testable import elemta

@Suite("Who exists") struct RecipientRulesTests {
    private static let local = "local_domains: [a.example, .a.example, b.example, c.example]"
    private static let routes = "delivery: {routes: [{domain: \"*\", deliver: discard}]}"

    /// The rules of `recipients`, whose files are in `folder`.
    private func rules(
        _ recipients: String, in folder: LoginsFolder, log: RecordedLog = RecordedLog()
    ) throws -> RecipientRules {
        let yaml = """
            \(Self.local)
            \(Self.routes)
            recipients: \(recipients.replacing("FOLDER", with: folder.path("")))
            """
        let loaded = try Configuration.load(
            explicitPath: try folder.write(yaml, to: "elemta.yaml"), environment: [:])
        let configuration = loaded.configuration
        let policy = RelayPolicy(
            localDomains: configuration.localDomains, relays: HostNetworks.Relays(configuration))
        return try RecipientRules(configuration, policy: policy, log: log.log)
    }

    /// What is found, in words; aliases with their mailboxes.
    private func find(_ address: String, in rules: RecipientRules) throws -> String {
        switch rules.find(try #require(Mailbox(address), "\(address)")) {
        case .unrestricted: "unrestricted"
        case .exists: "exists"
        case .alias(let targets, _): targets.map(\.description).joined(separator: " ")
        case .unknown: "unknown"
        case .directory(_, let names, _): "asks for \(names.joined(separator: " "))"
        case .callout: "callout"
        case .misconfigured(let reason, _): reason
        }
    }

    @Test("the first rule of a local domain decides, and of no other")
    func firstRule() throws {
        let folder = try LoginsFolder()
        try folder.write("alice\n", to: "a.txt")
        try folder.write("bob\n", to: "b.txt")
        let rules = try rules(
            """
            [{domain: x.a.example, file: FOLDERb.txt}, {domain: .a.example, file: FOLDERa.txt},
             {domain: y.a.example, file: FOLDERb.txt}, {domain: b.example, callout: true},
             {domain: other.example, file: FOLDERa.txt}]
            """, in: folder)
        let table = [
            ("bob@x.a.example", "exists"), ("alice@x.a.example", "unknown"),
            ("alice@y.a.example", "exists"), ("bob@y.a.example", "unknown"),
            ("alice@z.y.a.example", "exists"), ("bob@a.example", "unrestricted"),
            ("bob@b.example", "callout"), ("bob@c.example", "unrestricted"),
            ("bob@other.example", "unrestricted"), ("bob@far.example", "unrestricted"),
        ]
        for (address, finding) in table { #expect(try find(address, in: rules) == finding) }
    }

    @Test("postmaster exists in every domain, and may be an alias")
    func postmaster() throws {
        let folder = try LoginsFolder()
        try folder.write("alice\n", to: "a.txt")
        try folder.write("alice\nPostmaster: alice\n", to: "b.txt")
        let rules = try rules(
            """
            [{domain: a.example, file: FOLDERa.txt}, {domain: b.example, file: FOLDERb.txt},
             {domain: c.example, callout: true}]
            """, in: folder)
        #expect(try find("PostMaster@a.example", in: rules) == "exists")
        #expect(try find("postmaster@b.example", in: rules) == "alice@b.example")
        #expect(try find("postmaster@c.example", in: rules) == "exists")
        #expect(try find("abuse@c.example", in: rules) == "callout")
    }

    @Test("a directory is asked for the address and for what stands before its tag")
    func directory() throws {
        let folder = try LoginsFolder()
        let rules = try rules(
            "[{domain: a.example, ldap: {url: \"ldap://127.0.0.1:1\"}}]", in: folder)
        #expect(try find("Bob@a.example", in: rules) == "asks for bob@a.example")
        #expect(
            try find("bob+x+y@A.example", in: rules)
                == "asks for bob+x+y@a.example bob@a.example")
        #expect(try find("+x@a.example", in: rules) == "asks for +x@a.example")
        #expect(try find("postmaster@a.example", in: rules) == "exists")
        rules.stop()
    }

    @Test("aliases are followed through every file, each mailbox once")
    func aliases() throws {
        let folder = try LoginsFolder()
        try folder.write(
            """
            alice: alice, copy@far.example
            bob
            all: bob, alice, staff@b.example, Bob, gone
            """, to: "a.txt")
        try folder.write("staff: bob@a.example, erin\nerin\n", to: "b.txt")
        let rules = try rules(
            "[{domain: a.example, file: FOLDERa.txt}, {domain: b.example, file: FOLDERb.txt}]",
            in: folder)
        #expect(try find("alice@a.example", in: rules) == "alice@a.example copy@far.example")
        #expect(
            try find("all@a.example", in: rules)
                == "bob@a.example alice@a.example copy@far.example erin@b.example gone@a.example")
        #expect(rules.complaints == [])
    }

    @Test("a circle, a way without end and a crowd are nobody, and are complained about")
    func circles() throws {
        let folder = try LoginsFolder()
        let deep = (0...40).map { "d\($0): d\($0 + 1)" }.joined(separator: "\n")
        let many = (0..<3).map { list in
            let members = (0..<500).map { "u\(list)-\($0)" }.joined(separator: ",")
            return "many\(list): \(members)"
        }
        // Each doubles the ways to the next: 2^30 of them.
        let ways = (0..<30).map { "w\($0): w\($0 + 1), W\($0 + 1)+x" }.joined(separator: "\n")
        try folder.write(
            """
            one: two
            two: bob, three@b.example
            \(deep)
            \(many.joined(separator: "\n"))
            crowd: many0, many1, many2
            pair: many0, many1
            \(ways)
            """, to: "a.txt")
        try folder.write("three: one@a.example\n", to: "b.txt")
        let rules = try rules(
            "[{domain: a.example, file: FOLDERa.txt}, {domain: b.example, file: FOLDERb.txt}]",
            in: folder)
        #expect(try find("one@a.example", in: rules) == "the alias leads back to <one@a.example>")
        #expect(
            try find("three@b.example", in: rules) == "the alias leads back to <three@b.example>")
        #expect(
            try find("d0@a.example", in: rules) == "the alias leads over more than 32 others")
        #expect(try find("d30@a.example", in: rules) == "d41@a.example")
        let tooMany = "the alias stands for more than 1000 mailboxes"
        #expect(try find("crowd@a.example", in: rules) == tooMany)
        #expect(try find("pair@a.example", in: rules).split(separator: " ").count == 1000)
        #expect(try find("w0@a.example", in: rules) == tooMany)
        #expect(
            rules.complaints.contains(
                "recipients[0] (\(folder.path("a.txt"))), line 1: "
                    + "the alias leads back to <one@a.example>"))
    }

    @Test("everything that is wrong with the files is told at once")
    func errors() throws {
        let folder = try LoginsFolder()
        try folder.write("a b\nc d\n", to: "a.txt")
        let error = #expect(throws: RecipientsError.self) {
            try rules(
                """
                [{domain: a.example, file: FOLDERa.txt}, {domain: b.example, file: FOLDERnone},
                 {domain: c.example, ldap: {url: "ldap://x", bind_dn: "cn=x"}}]
                """, in: folder)
        }
        let problems = try #require(error).problems
        #expect(problems.count == 4)
        #expect(problems[0].hasPrefix("\(folder.path("a.txt")):1: found \"a b\""))
        #expect(problems[2].hasPrefix("\(folder.path("none")): cannot be read"))
        #expect(problems[3] == "recipients[2].ldap.bind_dn: allowed: only with a password")
    }

    // MARK: Reports

    private func recipients(
        of notify: NotifyConditions, original: String? = nil, as targets: [String]
    ) throws -> [String] {
        let alias = try #require(Mailbox("Sales@a.example"))
        let recipient = AcceptedRecipient(
            path: .mailbox(alias), notify: notify,
            originalRecipient: original.map {
                OriginalRecipient(addressType: Array("rfc822".utf8), address: Array($0.utf8))
            })
        let mailboxes = try targets.map { try #require(Mailbox($0)) }
        return AliasExpansion.recipients(of: recipient, known: alias, as: mailboxes).map {
            let original = $0.originalRecipient.map { String(decoding: $0.address, as: UTF8.self) }
            return "\($0.path) \($0.notify.parameterValue) \(original ?? "-")"
        }
    }

    @Test("one target inherits what the sender asked, several all but SUCCESS")
    func notify() throws {
        let one = ["x@b.example"]
        let two = ["x@b.example", "y@c.example"]
        #expect(try recipients(of: [], as: one) == ["<x@b.example>  Sales@a.example"])
        #expect(
            try recipients(of: [.success, .delay], original: "first@far.example", as: one)
                == ["<x@b.example> SUCCESS,DELAY first@far.example"])
        #expect(
            try recipients(of: [.success, .failure], as: two) == [
                "<x@b.example> FAILURE Sales@a.example", "<y@c.example> FAILURE Sales@a.example",
            ])
        #expect(
            try recipients(of: .success, as: two) == [
                "<x@b.example> NEVER Sales@a.example", "<y@c.example> NEVER Sales@a.example",
            ])
        #expect(
            try recipients(of: .never, as: two) == [
                "<x@b.example> NEVER Sales@a.example", "<y@c.example> NEVER Sales@a.example",
            ])
    }
}
