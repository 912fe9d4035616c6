import ElemtaReactor
import ElemtaThreads
import Testing

@testable import ElemtaConfiguration
@testable import ElemtaSMTP
@testable import elemta

@Suite("Logins") struct LoginsTests {
    fileprivate static let session = ConnectionID(slot: 7, generation: 1)
    fileprivate static let stranger = "192.0.2.1"
    fileprivate static let users = """
        {"users": [{"username": "alice", "password": "{PLAIN}right"},
         {"username": "bob", "password": "{PLAIN}right", "allowed_senders": ["example.com"]}]}
        """

    /// A server's logins, with what a session would see of them.
    private final class Server {
        let folder: LoginsFolder
        let lines = RecordedLog()
        let results = Inbox<Logins.Result>()
        let logins: Logins

        init(users: String = LoginsTests.users, maximumFailures: Int = 30) throws {
            folder = try LoginsFolder()
            var auth = Configuration.Auth()
            auth.filePath = try folder.write(users, to: "users.json")
            auth.maxFailures = maximumFailures
            logins = try Logins(auth, log: lines.log)
            try logins.start { [results] session, result in
                #expect(session == LoginsTests.session)
                results.post(result)
            }
        }

        deinit { logins.stop() }

        /// `accepted NAME 0`, `rejected 1`, `unavailable`, or `at once unavailable`.
        func logIn(
            _ user: String, _ password: String, from address: String = LoginsTests.stranger,
            isExempt: Bool = false, second: Int = 0
        ) throws -> String {
            let now = MonotonicTime(nanoseconds: 1_000_000_000 * UInt64(1_000 + second))
            let outcome = logins.verify(
                try LoginsTests.credentials(user, password),
                from: try #require(IPAddress(address)), isExempt: isExempt,
                for: LoginsTests.session, at: now)
            if let outcome { return "at once \(LoginsTests.text(of: outcome))" }
            let result = try #require(results.takeOne())
            #expect(result.received == now)
            return LoginsTests.text(of: logins.concluded(result, at: now))
        }
    }

    /// Nobody's password can be guessed with them, so no account pays for them.
    @Test func whatNoBackEndMaySeeCountsForTheAddressAlone() throws {
        let server = try Server(maximumFailures: 2)
        func refuse(_ user: String?, isExempt: Bool = false) throws -> String {
            let address = try #require(IPAddress(Self.stranger))
            return Self.text(
                of: server.logins.refuse(
                    user, from: address, isExempt: isExempt, for: Self.session,
                    at: MonotonicTime(nanoseconds: 1_000_000_000_000)))
        }
        #expect(try refuse(nil, isExempt: true) == "rejected 0")
        #expect(try refuse(nil) == "rejected 0")
        #expect(try refuse("alice") == "rejected 0")
        #expect(try refuse(nil) == "unavailable")
        #expect(try server.logIn("alice", "right") == "at once unavailable")
        #expect(try server.logIn("alice", "right", from: "192.0.2.2") == "accepted alice 0")
        #expect(server.logins.conclusions[.rejected] == 3)
        #expect(server.logins.conclusions[.limited] == 2)
    }

    fileprivate static func credentials(
        _ user: String, _ password: String
    ) throws -> SASLCredentials {
        let message = Array(password.utf8)
        return try #require(
            SASLCredentials(user: user.utf8, message: message, password: message.indices))
    }

    fileprivate static func text(of outcome: AuthenticationOutcome) -> String {
        switch outcome {
        case .accepted(let user, let delay): "accepted \(user.name) \(delay)"
        case .rejected(let delay): "rejected \(delay)"
        case .unavailable: "unavailable"
        }
    }

    @Test("each failure, from anywhere, holds back the next answers, and refuses no right password")
    func delays() throws {
        let server = try Server()
        let table: [(user: String, password: String, address: String, outcome: String)] = [
            ("alice", "right", "192.0.2.1", "accepted alice 0"),
            ("alice", "wrong", "192.0.2.1", "rejected 1"),
            ("alice", "wrong", "192.0.2.2", "rejected 2"),
            ("alice", "wrong", "2001:db8::1", "rejected 3"),
            ("bob", "right", "192.0.2.1", "accepted bob 0"),
            ("alice", "wrong", "127.0.0.1", "rejected 4"),
            ("alice", "wrong", "192.0.2.3", "rejected 5"),
            ("alice", "wrong", "192.0.2.4", "rejected 5"),
            ("alice", "right", "192.0.2.5", "accepted alice 5"),
            ("alice", "right", "192.0.2.5", "accepted alice 0"),
            ("nobody", "right", "192.0.2.1", "rejected 1"),
            ("nobody", "right", "192.0.2.1", "rejected 2"),
        ]
        for (user, password, address, outcome) in table {
            #expect(try server.logIn(user, password, from: address) == outcome)
        }
    }

    @Test("an address that has failed too often isn't let try, until its window is over")
    func addresses() throws {
        let server = try Server(maximumFailures: 2)
        for client in ["192.0.2.1", "2001:db8::1"] {
            for _ in 0..<2 { _ = try server.logIn("nobody", "wrong", from: client) }
        }
        let table: [(address: String, isExempt: Bool, second: Int, outcome: String)] = [
            ("192.0.2.1", false, 0, "at once unavailable"),
            ("192.0.2.1", false, 599, "at once unavailable"),
            ("192.0.2.1", true, 0, "accepted alice 0"),
            ("192.0.2.2", false, 0, "accepted alice 0"),
            ("2001:db8::2", false, 0, "at once unavailable"),
            ("2001:db8:0:1::1", false, 0, "accepted alice 0"),
            ("192.0.2.1", false, 600, "accepted alice 0"),
        ]
        for (address, isExempt, second, outcome) in table {
            let found = try server.logIn(
                "alice", "right", from: address, isExempt: isExempt, second: second)
            #expect(found == outcome, "\(address) after \(second) s")
        }
        for (address, isExempt) in [("127.0.0.1", false), ("::1", false), ("192.0.2.9", true)] {
            for _ in 0..<5 {
                let outcome = try server.logIn(
                    "nobody", "wrong", from: address, isExempt: isExempt)
                #expect(outcome.hasPrefix("rejected"))
            }
        }
    }

    @Test("what a user may send from goes with the user, XCLIENT's too")
    func senders() throws {
        let server = try Server()
        let result = server.logins.verify(
            try Self.credentials("bob", "right"), from: try #require(IPAddress(Self.stranger)),
            isExempt: false, for: Self.session)
        #expect(result == nil)
        guard
            case .accepted(let bob, _) = server.logins.concluded(
                try #require(server.results.takeOne()))
        else {
            Issue.record("bob isn't let in")
            return
        }
        for user in [bob, server.logins.user(named: "bob")] {
            #expect(user.name == "bob")
            #expect(user.maySend(.mailbox(try #require(Mailbox("x@example.com")))))
            #expect(!user.maySend(.mailbox(try #require(Mailbox("x@example.org")))))
        }
        for name in ["alice", "somebody else"] {
            let user = server.logins.user(named: name)
            #expect(user.name == name)
            #expect(user.maySend(.mailbox(try #require(Mailbox("x@example.org")))))
        }
    }

    @Test("the log says who came from where and what came of it, and never a password")
    func log() throws {
        let server = try Server(maximumFailures: 2)
        _ = try server.logIn("alice", "right")
        _ = try server.logIn("alice", "wrong")
        _ = try server.logIn("pa55word", "wrong")
        _ = try server.logIn("alice", "right")
        server.logins.stop()
        _ = try server.logIn("alice", "right", from: "127.0.0.1")
        let place = "client=192.0.2.1 result"
        let session = "session=\(SessionID(Self.session))"
        let lines = server.lines.waiting()
        #expect(
            lines == [
                "info authentication \(place)=accepted \(session) user=alice",
                "warning authentication \(place)=rejected \(session) user=alice",
                // Who has typed a password for a name doesn't find it here.
                "warning authentication \(place)=rejected \(session)",
                "warning authentication \(place)=limited \(session) user=alice",
            ])
        #expect(!lines.contains { $0.contains("right") || $0.contains("wrong") })
    }

    @Test("nobody can be verified before the start and after the end")
    func unstarted() throws {
        let folder = try LoginsFolder()
        var auth = Configuration.Auth()
        auth.filePath = try folder.write(Self.users, to: "users.json")
        let logins = try Logins(auth, log: RecordedLog().log)
        func verify() throws -> String? {
            logins.verify(
                try Self.credentials("alice", "right"), from: try #require(IPAddress("::1")),
                isExempt: true, for: Self.session
            ).map(Self.text)
        }
        #expect(try verify() == "unavailable")
        let results = Inbox<Logins.Result>()
        try logins.start { results.post($1) }
        #expect(try verify() == nil)
        #expect(
            Self.text(of: logins.concluded(try #require(results.takeOne()))) == "accepted alice 0")
        logins.stop()
        #expect(try verify() == "unavailable")
        logins.stop()
    }

    @Test("a users file that became wrong is in the log, and the users stay")
    func reload() throws {
        let server = try Server()
        let file = server.folder.path("users.json")
        try server.folder.write("alice:{MD5}secret\n", to: "users.json")
        server.logins.reloadIfChanged()
        let complaint =
            "error users_not_reloaded"
            + " error=\"\(file):1: user \\\"alice\\\": found an unknown hash scheme, {MD5}\""
        #expect(server.lines.next() == complaint)
        // Nothing has changed since.
        server.logins.reloadIfChanged()
        #expect(try server.logIn("alice", "right") == "accepted alice 0")
        _ = server.lines.next()
        try server.folder.write("alice:{PLAIN}new\ncarol:bare\n", to: "users.json")
        server.logins.reloadIfChanged()
        #expect(server.lines.next() == "notice users_reloaded users=2")
        let warning = try #require(server.lines.next())
        #expect(warning.hasPrefix("warning auth_warning warning=\"\(file):2: user \\\"carol\\\""))
        #expect(try server.logIn("alice", "right") == "rejected 1")
        #expect(try server.logIn("carol", "bare") == "accepted carol 0")
    }

    @Test("what is wrong with a users file or a directory's settings is known before the start")
    func errors() throws {
        let folder = try LoginsFolder()
        let doubled = try folder.write("a:{PLAIN}hidden\nb:{MD5}hidden\na:hidden\n", to: "doubled")
        let empty = try folder.write("\n", to: "empty")
        let table: [(change: (inout Configuration.Auth) -> Void, problems: [String])] = [
            (
                { $0.filePath = doubled },
                [
                    "\(doubled):2: user \"b\": found an unknown hash scheme, {MD5}",
                    "\(doubled):3: user \"a\": is there twice",
                ]
            ),
            (
                { $0.filePath = folder.path("none") },
                ["\(folder.path("none")): cannot be read: No such file or directory"]
            ),
            (
                { ($0.backend, $0.ldap.bindPassword) = (.ldap, .file(folder.path("none"))) },
                [
                    "auth.ldap.bind_password_file: \(folder.path("none")):"
                        + " cannot be read: No such file or directory"
                ]
            ),
            (
                { ($0.backend, $0.ldap.bindPassword) = (.ldap, .file(empty)) },
                ["auth.ldap.bind_password_file: \(empty): is empty; allowed: the secret"]
            ),
            (
                { ($0.backend, $0.ldap.bindPassword) = (.ldap, .file("/dev/zero")) },
                ["auth.ldap.bind_password_file: /dev/zero: is no file"]
            ),
            (
                { ($0.backend, $0.ldap.bindDN) = (.ldap, "cn=reader") },
                ["auth.ldap.bind_dn: allowed: only with a password"]
            ),
        ]
        for (change, problems) in table {
            var auth = Configuration.Auth()
            change(&auth)
            let error = #expect(throws: LoginsError.self) {
                try Logins(auth, log: RecordedLog().log)
            }
            #expect(error?.problems == problems)
            #expect(error?.description.contains("hidden") == false)
        }
    }

    @Test("what looks like a mistake is a warning at the start")
    func warnings() throws {
        let folder = try LoginsFolder()
        let open = try folder.write("secret\n", to: "open", mode: 0o644)
        let users = try folder.write("a:{PLAIN}x\nb:bare\n", to: "users", mode: 0o644)
        let readable = "is readable by every user of the system; allowed to fewer: chmod 640"
        var file = Configuration.Auth()
        file.filePath = users
        #expect(
            try warnings(file) == [
                "\(users): \(readable)",
                "\(users):2: user \"b\": the password is plain text; write a hash, or {PLAIN}"
                    + " before it",
            ])
        var directory = Configuration.Auth()
        directory.backend = .ldap
        directory.ldap.bindDN = "cn=reader"
        directory.ldap.bindPassword = .file(open)
        #expect(try warnings(directory) == ["\(open): \(readable)"])
        directory.ldap.bindPassword = .given(Secret("secret"))
        let table: [(url: String, startTLS: Bool, isReadable: Bool)] = [
            ("ldap://localhost:389", false, false), ("ldap:///", false, false),
            ("ldap://127.0.0.1:389", false, false), ("ldap://[::1]:389", false, false),
            ("ldapi:///", false, false), ("ldaps://192.0.2.1", false, false),
            ("ldap://192.0.2.1", true, false), ("ldap://192.0.2.1", false, true),
            ("ldap://[2001:db8::1]:389/", false, true),
            ("ldap://localhost ldap://ldap.example", false, true),
        ]
        for (url, startTLS, isReadable) in table {
            (directory.ldap.url, directory.ldap.starttls) = (url, startTLS)
            let found = try warnings(directory)
            #expect(found.contains { $0.hasPrefix("auth.ldap.url: ") } == isReadable, "\(url)")
            #expect(found.count == (isReadable ? 1 : 0))
        }
    }

    private func warnings(_ auth: Configuration.Auth) throws -> [String] {
        let lines = RecordedLog()
        let source = try LoginsSource(auth, log: lines.log)
        _ = try Logins(auth, log: lines.log)
        // What `elemta check` prints the server logs.
        #expect(lines.waiting().count == source.warnings.count)
        return source.warnings
    }

    @Test("a directory that doesn't answer lets nobody in, refuses nobody, and is asked again")
    func directoryDown() throws {
        let folder = try LoginsFolder()
        var auth = Configuration.Auth()
        auth.backend = .ldap
        // Nobody listens on a port that is only bound.
        let port = try UnusedPort()
        auth.ldap.url = "ldap://127.0.0.1:\(port.number)"
        auth.ldap.bindDN = "cn=reader"
        auth.ldap.bindPassword = .file(try folder.write("hidden\r\n", to: "password"))
        let lines = RecordedLog()
        let results = Inbox<Logins.Result>()
        let logins = try Logins(auth, log: lines.log)
        try logins.start { results.post($1) }
        defer { logins.stop() }
        func logIn() throws -> String {
            let outcome = logins.verify(
                try Self.credentials("alice", "right"), from: try #require(IPAddress("::1")),
                isExempt: false, for: Self.session)
            #expect(outcome == nil)
            return Self.text(of: logins.concluded(try #require(results.takeOne())))
        }
        for _ in 0..<3 { #expect(try logIn() == "unavailable") }
        let told = lines.waiting()
        #expect(told.filter { $0.hasPrefix("error directory_unavailable") }.count == 1)
        #expect(told.filter { $0.contains("result=unavailable") }.count == 3)
        try folder.write("other", to: "password")
        let source = try LoginsSource(auth, log: lines.log)
        logins.change(to: source, auth, after: auth)
        #expect(try logIn() == "unavailable")
        #expect(
            !(told + lines.waiting()).contains { $0.contains("hidden") || $0.contains("right") })
    }
}
