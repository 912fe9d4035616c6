import ElemtaSMTP
import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaAuthentication

@Suite("Users file") struct UsersFileTests {
    static let digest = "{SHA}W8rTGA0vpXc6kJ7Ft2UUYHAWKSE="

    /// The same two users in every form that is allowed.
    static let forms: [String] = [
        #"{"users": [{"username": "alice", "password": "{PLAIN}one"},"#
            + #" {"password": "{PLAIN}two", "username": "b\u00f6b","#
            + #" "allowed_senders": ["example.com"]}]}"#,
        #"{"alice": "{PLAIN}one", "böb": "{PLAIN}\u0074wo"}"#,
        "\u{FEFF}\n { \"b\\u00f6b\"\t:\n\"{PLAIN}two\" , \"alice\": \"{PLAIN}one\"\r\n}\n",
        "alice:{PLAIN}one\nböb:{PLAIN}two\n",
        "# users\r\n\r\nalice:{PLAIN}one\r\n  \n  # more\nböb:{PLAIN}two",
    ]

    private func read(_ text: String) throws(FileErrors) -> Users {
        var findings = FileFindings(path: "users")
        return try Users.parse(Array(text.utf8), &findings)
    }

    private func refusal(_ octets: [UInt8]) -> [String] {
        var findings = FileFindings(path: "users")
        do throws(FileErrors) {
            _ = try Users.parse(octets, &findings)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test("says who is let in, in each of its forms", arguments: forms)
    func verify(text: String) throws {
        let users = try read(text)
        #expect(users.names == ["alice", "böb"])
        #expect(users.warnings == [])
        let table: [(user: String, password: String, isRight: Bool)] = [
            ("alice", "one", true), ("alice", "two", false), ("alice", "", false),
            ("böb", "two", true), ("bob", "two", false), ("Alice", "one", false),
            ("alice ", "one", false), ("", "", false), ("", "one", false),
            ("alice\0", "one", false),
            ("alice", "one\0", false), ("carol", "one", false),
        ]
        for (user, password, isRight) in table {
            switch users.verify(Credentials(user, password)) {
            case .accepted(let name, _): #expect(isRight && name == user, "\(user)")
            case .rejected: #expect(!isRight, "\(user)")
            case .temporarilyUnavailable: Issue.record("a file is always there")
            }
        }
    }

    @Test("restricts senders where it says so")
    func senders() throws {
        let users = try read(Self.forms[0])
        guard case .accepted("böb", let allowed?) = users.verify(Credentials("böb", "two")),
            case .accepted("alice", nil) = users.verify(Credentials("alice", "one"))
        else {
            Issue.record("wrong restrictions")
            return
        }
        #expect(allowed.allows(.mailbox(try #require(Mailbox("x@example.com")))))
        #expect(!allowed.allows(.mailbox(try #require(Mailbox("x@example.org")))))
    }

    @Test("names that are too long, or no names, are nobody's")
    func impossibleNames() throws {
        let users = try read(Self.forms[1])
        for name in [String(repeating: "a", count: 1 << 20), "\n", "\u{7F}", ""] {
            #expect(users.verify(Credentials(name, "one")) == .rejected)
        }
    }

    @Test("errors name file, line and user, all of them, and never the secret")
    func errors() {
        let table: [(text: String, problems: [String])] = [
            ("", ["users: is empty; allowed: {\"users\": []}"]),
            (" \n\t", ["users: is empty; allowed: {\"users\": []}"]),
            (
                "alice:{MD5}hunter2\nbob\n:{PLAIN}hunter2\nalice:\n",
                [
                    "users:1: user \"alice\": found an unknown hash scheme, {MD5}",
                    "users:2: found a line without a colon; allowed: user:hash",
                    "users:3: user \"\": found a name that is empty, has control characters or more"
                        + " than 1024 octets",
                    "users:4: user \"alice\": found an empty password",
                ]
            ),
            (
                "alice:{PLAIN}hunter2\nalice:{PLAIN}hunter2\n",
                ["users:2: user \"alice\": is there twice"]
            ),
            ("alice:{hunter2}x", ["users:1: user \"alice\": found an unknown hash scheme"]),
            ("alice:{SSHA}hunter2", ["users:1: user \"alice\": found a damaged {SSHA} hash"]),
            (
                "a\u{7}b:{PLAIN}hunter2",
                [
                    "users:1: user \"a\\u{07}b\": found a name that is empty, has control"
                        + " characters or more than 1024 octets"
                ]
            ),
            (
                "{\"alice\": \"{PLAIN}hunter2\",\n\"\\u0061lice\": \"{PLAIN}hunter2\"}",
                ["users:2: user \"alice\": is there twice"]
            ),
            (
                "{\"alice\": 1,\n\n\"bob\": \"{MD5}hunter2\", \"carol\": [\"hunter2\"]}",
                [
                    "users:1: user \"alice\": found no string; allowed: \"hash\"",
                    "users:3: user \"bob\": found an unknown hash scheme, {MD5}",
                    "users:3: user \"carol\": found no string; allowed: \"hash\"",
                ]
            ),
            (
                """
                {"users": [
                  {"username": "alice", "password": "{PLAIN}hunter2"},
                  {"username": "alice", "password": "{PLAIN}hunter2"},
                  {"username": "bob"},
                  {"password": "{PLAIN}hunter2"},
                  {"username": 5, "password": null},
                  {"username": "carol", "password": "{PLAIN}hunter2", "allowed_sender": []},
                  {"username": "dave", "password": "{PLAIN}hunter2", "allowed_senders": []},
                  {"username": "eve", "password": "{PLAIN}hunter2", "allowed_senders": ["*"]},
                  {"username": "mallory", "password": "{PLAIN}hunter2", "allowed_senders": "x"},
                  "hunter2", []
                ]}
                """,
                [
                    "users:3: user \"alice\": is there twice",
                    "users:4: user \"bob\": password is missing",
                    "users:5: username is missing",
                    "users:6: username: found no string; allowed: a string",
                    "users:6: password: found no string; allowed: a string",
                    "users:7: user \"carol\": found the key \"allowed_sender\"; allowed:"
                        + " [\"allowed_senders\", \"password\", \"username\"]",
                    "users:8: user \"dave\": allowed_senders is empty; leave it out to allow every"
                        + " sender",
                    "users:9: user \"eve\": allowed_senders[0]: found \"*\"; allowed: an address,"
                        + " \"example.com\" or \".example.com\"",
                    "users:10: user \"mallory\": allowed_senders: allowed: a list of strings",
                    "users:11: found no object; allowed: {\"username\": ..., \"password\": ...}",
                    "users:11: found no object; allowed: {\"username\": ..., \"password\": ...}",
                ]
            ),
            (
                "{\"users\": [{\"username\": \"a\", \"password\": \"x\",\n"
                    + "\"password\": \"hunter2\"}]}",
                ["users:2: found the key \"password\" twice in one object"]
            ),
            (
                "{\"users\": [], \"users\": []}", ["users:1: found the key \"users\" twice"]
            ),
            (
                "{\"users\": [],\n\"user\": []}",
                ["users:2: found the key \"user\"; allowed beside: \"users\""]
            ),
            (
                "[{\"username\": \"a\", \"password\": \"hunter2\"}]",
                ["users: found a list; allowed: {\"users\": [...]} or {\"user\": \"hash\"}"]
            ),
            ("{\"a\": \"hunter2\"\n", ["users:2: ends in the middle"]),
            ("{\"a\": \"hunter2", ["users:1: ends in the middle"]),
            ("{\"a\": \"hunter2\\", ["users:1: ends in the middle"]),
            ("{\"a\": \"hunter2\",\n}", ["users:2: is not JSON"]),
            ("{\"a\":\n\"hun\nter2\"}", ["users:2: is not JSON"]),
            ("{\"a\": \"hunter2\"}\n{}", ["users:2: is not JSON"]),
            ("{\"a\": \"hunter2\\ud83d\"}", ["users: is not JSON"]),
            ("{\"\\q\": \"hunter2\"}", ["users:1: is not JSON"]),
            ("{a: \"hunter2\"}", ["users:1: is not JSON"]),
        ]
        for (text, problems) in table {
            let found = refusal(Array(text.utf8))
            #expect(found == problems, "\(text)")
            #expect(!found.contains { $0.contains("hunter2") })
        }
        #expect(
            refusal(Array("a:b\nx:".utf8) + [0xFF]) == ["users:2: found octets that are not UTF-8"])
        #expect(
            refusal(Array("{\"a\": \"".utf8) + [0xFF] + Array("\"}".utf8)) == ["users: is not JSON"]
        )
        #expect(
            refusal(Array("{\"".utf8) + [0xFF] + Array("\": 1}".utf8)) == ["users:1: is not JSON"])
    }

    @Test("nobody at all is allowed, a plain password is worth a warning")
    func warnings() throws {
        #expect(try read("{\"users\": []}").count == 0)
        #expect(try read("{}").count == 0)
        #expect(try read("# nobody yet\n").count == 0)
        #expect(try read("{}").verify(Credentials("a", "b")) == .rejected)
        let users = try read("alice:hunter2\nbob:{PLAIN}hunter2\n")
        #expect(
            users.warnings.map(\.description) == [
                "users:1: user \"alice\": the password is plain text; write a hash, or"
                    + " {PLAIN} before it"
            ])
        let folder = try TemporaryFolder()
        let open = try Users.read(try folder.file("users", "a:{PLAIN}b", mode: 0o644))
        #expect(open.warnings.count == 1)
    }

    @Test("hostile files are refused in bounded time and with a bounded number of errors")
    func hostile() {
        let size = Users.maximumOctets - 64
        func filled(_ piece: String) -> String {
            String(repeating: piece, count: size / 32 / piece.utf8.count)
        }
        let table: [(name: String, text: String, problem: String)] = [
            ("lists", "{\"a\":" + filled("["), "nested too deep"),
            ("maps", filled("{\"a\":"), "nested too deep"),
            ("closed lists", "{\"users\": [" + filled("[],") + "[]]}", "found no object"),
            ("numbers", "{\"users\": [" + filled("1,") + "1]}", "found no object"),
            ("doubled keys", "{" + filled("\"a\":1,") + "\"a\":1}", "is there twice"),
            ("doubled inner keys", "{\"x\":{" + filled("\"a\":1,") + "\"a\":1}}", "twice"),
            ("escapes", "{\"a\":\"" + filled("\\u0041") + "\"}", "more than 1024 octets"),
            ("a long key", "{\"" + filled("x") + "\": \"y\"}", "more than 1024 octets"),
            ("a long number", "{\"a\":" + filled("1") + "}", "found no string"),
            ("escaped keys", "{" + filled("\"\\u0061\":1,") + "\"a\":1}", "is there twice"),
            ("spaces", "{" + filled(" ") + "x", "is not JSON"),
            ("an open string", "{\"" + filled("x"), "ends in the middle"),
            ("colons", filled(":"), "is empty, has control"),
            ("lines without colons", filled("x\n"), "without a colon"),
            ("doubled lines", filled("a:b\n"), "is there twice"),
        ]
        for (name, text, problem) in table {
            var found: [String] = []
            let taken = ContinuousClock().measure { found = refusal(Array(text.utf8)) }
            #expect(
                found.contains { $0.contains(problem) }, "\(name): \(found.first ?? "accepted")")
            #expect((1...FileFindings.maximumCount).contains(found.count), "\(name)")
            #expect(found.allSatisfy { $0.utf8.count < 500 }, "\(name)")
            // A second or two in a debug build.
            #expect(taken < .seconds(30), "\(name) took \(taken)")
        }
    }

    @Test("that is no file, or too large, is refused at once")
    func noFile() throws {
        let folder = try TemporaryFolder()
        #expect(unsafe mkfifo("\(folder.path)/fifo", 0o600) == 0)
        let octets = [UInt8](repeating: 0x23, count: Users.maximumOctets)
        let table: [(path: String, problem: String?)] = [
            ("\(folder.path)/none", "cannot be read: No such file or directory"),
            ("\(folder.path)/fifo", "is no file"), (folder.path, "is no file"),
            ("/dev/null", "is no file"),
            (try folder.file("large", octets: octets + [0x23]), "is too large"),
            (try folder.file("full", octets: octets), nil),
        ]
        for (path, problem) in table {
            do throws(FileErrors) {
                _ = try Users.read(path)
                #expect(problem == nil, "\(path)")
            } catch {
                #expect(error.description.hasPrefix("\(path): \(problem ?? "?")"), "\(error)")
            }
        }
    }

    @Test("is read again when it changes, and the old users stay when it became wrong")
    func reload() throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("users", "alice:{PLAIN}one")
        let events = Inbox<WatchedFileEvent>()
        let file = try UsersFile(path) { events.post($0) }
        let one = Credentials("alice", "one")
        let two = Credentials("alice", "two")
        let accepted = AuthenticationResult.accepted(user: "alice", allowedSenders: nil)
        #expect(file.verify(one) == accepted)
        #expect(events.count == 0)

        try folder.file("users", "alice:{PLAIN}two")
        #expect(file.verify(one) == .rejected)
        #expect(file.verify(two) == accepted)
        guard case .reloaded(count: 1, warnings: []) = events.takeOne() else {
            Issue.record("no word of the new users")
            return
        }

        for step in ["alice:{MD5}x", "", "gone"] {
            if step == "gone" { unsafe unlink(path) } else { try folder.file("users", step) }
            // Told once, however often somebody authenticates.
            for _ in 0..<3 { #expect(file.verify(two) == accepted) }
            guard case .refused(let errors) = events.takeOne(), events.count == 0 else {
                Issue.record("no word of the mistake in \(step)")
                return
            }
            #expect(errors.problems.count == 1)
        }

        try folder.file("users", "bob:{PLAIN}two")
        file.reloadIfChanged()
        #expect(file.users.names == ["bob"])
        #expect(file.verify(two) == .rejected)
    }

    @Test("a wrong password costs the same, whoever it is for")
    func equalTime() throws {
        let slow = try PasswordHash.make(Password("one")).revealed
        let users = try read("slow:\(slow)\ncheap:\(Self.digest)\nplain:{PLAIN}one\n")
        let clock = ContinuousClock()
        func quickest(_ user: String) -> Duration {
            (0..<5).map { _ in
                clock.measure { #expect(users.verify(Credentials(user, "wrong")) == .rejected) }
            }.min() ?? .zero
        }
        let reference = quickest("slow")
        for user in ["cheap", "plain", "nobody"] {
            // Without the costly hash it would be a thousandth of it.
            #expect(quickest(user) > reference / 4, "\(user)")
        }
    }
}
