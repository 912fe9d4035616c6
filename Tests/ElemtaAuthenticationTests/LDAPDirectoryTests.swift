import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaAuthentication

@Suite("LDAP directory", .serialized) struct LDAPDirectoryTests {
    private static let alice = Credentials("alice@example.com", "hunter2")
    private static let accepted = AuthenticationResult.accepted(
        user: "alice@example.com", allowedSenders: nil)

    /// What `credentials` become, and what an operator is told.
    private func verify(
        _ credentials: Credentials, with settings: LDAPSettings
    ) throws -> (result: AuthenticationResult, events: [LDAPEvent]) {
        let events = Inbox<LDAPEvent>()
        let directory = try LDAPDirectory(settings) { events.post($0) }
        let result = directory.verify(credentials)
        events.close()
        var told: [LDAPEvent] = []
        while let event = events.takeOne() { told.append(event) }
        return (result, told)
    }

    @Test("lets in whom the directory lets in, and nobody by tricks with the filter")
    func verdicts() throws {
        let server = try DirectoryServer()
        let events = Inbox<LDAPEvent>()
        let directory = try LDAPDirectory(server.settings) { events.post($0) }
        let table: [(user: String, password: String, isRight: Bool)] = [
            ("alice@example.com", "hunter2", true), ("ALICE@example.com", "hunter2", true),
            ("alice@example.com", "hunter3", false), ("alice@example.com", "", false),
            ("alice@example.com", "hunter2\0", false), ("nobody@example.com", "hunter2", false),
            ("mute@example.com", "hunter2", false), ("mute@example.com", "", false),
            ("*", "hunter2", false), ("alice@*", "hunter2", false), ("", "hunter2", false),
            ("alice@example.com)(uid=alice", "hunter2", false),
            ("x)(|(uid=*)", "hunter2", false), ("alice@example.com\\2a", "hunter2", false),
            ("o*d(d)\\@example.com", "hunter2", true), ("o*d(d)\\@example.com", "x", false),
            ("oxd(d)\\@example.com", "hunter2", false), ("böb", "hunter2", false),
            ("twin@example.com", "hunter2", false), ("alice@example.com", "hunter2", true),
        ]
        for (user, password, isRight) in table {
            let expected: AuthenticationResult =
                isRight ? .accepted(user: user, allowedSenders: nil) : .rejected
            #expect(directory.verify(Credentials(user, password)) == expected, "\(user)")
        }
        #expect(events.takeOne() == .ambiguous(user: "twin@example.com"))
        #expect(events.count == 0)
    }

    @Test("a directory that is down is a trouble that passes, never a refusal or a success")
    func down() throws {
        let server = try DirectoryServer()
        let events = Inbox<LDAPEvent>()
        let directory = try LDAPDirectory(server.settings) { events.post($0) }
        let wrong = Credentials("alice@example.com", "wrong")
        #expect(directory.verify(Self.alice) == Self.accepted)
        server.stop()
        for _ in 0..<3 {
            #expect(directory.verify(Self.alice) == .temporarilyUnavailable)
            #expect(directory.verify(wrong) == .temporarilyUnavailable)
        }
        guard case .unavailable = events.takeOne(), events.count == 0 else {
            Issue.record("the operator is told once")
            return
        }
        try server.start()
        #expect(directory.verify(wrong) == .rejected)
        #expect(directory.verify(Self.alice) == Self.accepted)
        #expect(events.takeOne() == .available)
        // The kept connections are lost, which nobody notices.
        server.stop()
        try server.start()
        #expect(directory.verify(Self.alice) == Self.accepted)
        #expect(events.count == 0)
    }

    @Test("several threads ask at once")
    func concurrency() throws {
        let server = try DirectoryServer()
        let directory = try LDAPDirectory(server.settings) { _ in }
        let pool = try CredentialsPool(backend: directory)
        let results = Inbox<AuthenticationResult>()
        for number in 0..<40 {
            let credentials = number % 2 == 0 ? Self.alice : Credentials("alice@example.com", "x")
            pool.verify(credentials) { results.post($0) }
        }
        var accepted = 0
        for _ in 0..<40 where results.takeOne() == Self.accepted { accepted += 1 }
        #expect(accepted == 20)
        pool.stop()
    }

    @Test("TLS, both ways, only with a certificate that is trusted and for the name that was asked")
    func encrypted() throws {
        let server = try DirectoryServer()
        let table: [(url: String, startTLS: Bool, isTrusted: Bool, isRight: Bool)] = [
            ("ldaps://127.0.0.1:\(server.securePort)", false, true, true),
            ("ldap://127.0.0.1:\(server.port)", true, true, true),
            ("ldaps://127.0.0.1:\(server.securePort)", false, false, false),
            ("ldap://127.0.0.1:\(server.port)", true, false, false),
            ("ldaps://localhost:\(server.securePort)", false, true, false),
            ("ldap://localhost:\(server.port)", true, true, false),
            // Plain LDAP where TLS is spoken, and the other way round.
            ("ldap://127.0.0.1:\(server.securePort)", false, true, false),
            ("ldaps://127.0.0.1:\(server.port)", false, true, false),
        ]
        for (url, startTLS, isTrusted, isRight) in table {
            var settings = server.settings
            settings.url = url
            settings.startTLS = startTLS
            settings.caFile = isTrusted ? server.certificate : nil
            settings.timeout = .seconds(isRight ? 10 : 2)
            let (result, events) = try verify(Self.alice, with: settings)
            #expect(
                result == (isRight ? Self.accepted : .temporarilyUnavailable), "\(url) \(events)")
        }
    }

    @Test("a directory that won't let us search is a trouble of ours, not of the user's")
    func searcher() throws {
        let server = try DirectoryServer()
        let changes: [(inout LDAPSettings) -> Void] = [
            { $0.bindPassword = Password("wrong") },
            { $0.bindDN = "cn=nobody,dc=example,dc=com" },
            { $0.bindDN = "not a DN" },
            { $0.baseDN = "dc=example,dc=org" },
            { $0.baseDN = "not a DN" },
            { $0.userFilter = "(mail={user}" },
            { $0.userFilter = "(({user}" },
        ]
        for (index, change) in changes.enumerated() {
            var settings = server.settings
            change(&settings)
            let (result, events) = try verify(Self.alice, with: settings)
            #expect(result == .temporarilyUnavailable, "\(index)")
            guard case .unavailable(let error)? = events.first else {
                Issue.record("nobody was told about \(index)")
                continue
            }
            #expect(!"\(error)".contains("wrong") && !"\(error)".contains("hunter2"))
        }
    }

    @Test("a server that takes connections and says nothing ends at the timeout")
    func silent() throws {
        let listener = try SilentListener()
        let table = [
            ("ldap://127.0.0.1:\(listener.port)", false),
            ("ldap://127.0.0.1:\(listener.port)", true),
            ("ldaps://127.0.0.1:\(listener.port)", false),
        ]
        for (url, startTLS) in table {
            var settings = LDAPSettings(url: url)
            settings.startTLS = startTLS
            settings.timeout = .seconds(1)
            let clock = ContinuousClock()
            var result: AuthenticationResult?
            let taken = try clock.measure {
                result = try verify(Self.alice, with: settings).result
            }
            #expect(result == .temporarilyUnavailable, "\(url)")
            #expect(taken < .seconds(20), "\(url) took \(taken)")
        }
    }

    @Test("nobody who stops waits for a directory that says nothing")
    func stopped() throws {
        let listener = try SilentListener()
        var settings = LDAPSettings(url: "ldap://127.0.0.1:\(listener.port)")
        settings.timeout = .seconds(600)
        let directory = try LDAPDirectory(settings) { _ in }
        let results = Inbox<AuthenticationResult>()
        let asking = try NamedThread("asking") { results.post(directory.verify(Self.alice)) }
        let question = try listener.awaitQuestion()
        defer { close(question) }
        directory.stop()
        asking.join()
        #expect(results.takeOne() == .temporarilyUnavailable)
        // Nor does anybody who comes later.
        #expect(directory.verify(Self.alice) == .temporarilyUnavailable)
    }

    @Test("settings that can't work are refused before anybody is asked")
    func settings() throws {
        var plain = LDAPSettings(url: "ldap://localhost")
        plain.bindDN = "cn=reader"
        plain.bindPassword = Password("x")
        let table: [(change: (inout LDAPSettings) -> Void, error: LDAPSettingsError?)] = [
            ({ _ in }, nil),
            ({ $0.url = "ldap://a:389 ldaps://b" }, nil),
            ({ $0.url = "ldapi:///" }, nil),
            ({ $0.url = "" }, .url("")),
            ({ $0.url = "http://localhost" }, .url("http://localhost")),
            ({ $0.url = "localhost" }, .url("localhost")),
            ({ $0.userFilter = "(uid=alice)" }, .filterWithoutUser("(uid=alice)")),
            ({ $0.userFilter = "" }, .filterWithoutUser("")),
            ({ $0.bindPassword = nil }, .bindDNWithoutPassword),
            ({ $0.bindPassword = Password("") }, .bindDNWithoutPassword),
            ({ $0.baseDN = "a\0b" }, .nul),
            ({ $0.caFile = "/nonexistent" }, .caFile("/nonexistent")),
            ({ ($0.url, $0.startTLS) = ("LDAPS://localhost", true) }, .startTLSOnLDAPS),
        ]
        for (change, error) in table {
            var settings = plain
            change(&settings)
            if let error {
                #expect(throws: error) { _ = try LDAPDirectory(settings) { _ in } }
            } else {
                _ = try LDAPDirectory(settings) { _ in }
            }
        }
    }

    @Test("a name in a filter is a name, whatever is in it")
    func escaping() {
        let table: [(user: String, filter: String)] = [
            ("alice", "(|(mail=alice)(uid=alice))"),
            ("*", "(|(mail=\\2a)(uid=\\2a))"),
            ("a)(b", "(|(mail=a\\29\\28b)(uid=a\\29\\28b))"),
            ("\\", "(|(mail=\\5c)(uid=\\5c))"),
            ("\0\u{1}\u{7F}", "(|(mail=\\00\\01\\7f)(uid=\\00\\01\\7f))"),
            ("{user}", "(|(mail={user})(uid={user}))"),
            ("ö", "(|(mail=ö)(uid=ö))"),
        ]
        for (user, filter) in table {
            #expect(userFilter("(|(mail={user})(uid={user}))", for: user) == filter)
        }
        #expect(userFilter("{user}", for: "a") == "a")
        #expect(userFilter("", for: "a") == "")
    }
}
