import Glibc
import Testing

@testable import ElemtaAuthentication

@Suite("Changing a users file") struct UsersDocumentTests {
    static let digest: String = "{SHA}W8rTGA0vpXc6kJ7Ft2UUYHAWKSE="
    static let list: String = """
        {"users": [
          {"username": "zoë", "password": "{PLAIN}one/\\"two\\"", "allowed_senders": ["a.example"]},
          {"username": "bob", "password": "\(digest)"}
        ]}

        """
    static let lines: String = "# who may send\n\nzoë:{PLAIN}one:two\n  # more\nbob:\(digest)\n"

    private func hash(_ text: String) throws -> PasswordHash { try PasswordHash(text) }

    private func text(_ path: String) throws -> String {
        let octets = try FileContent(path, maximumCount: 1 << 20).octets
        return String(decoding: octets, as: UTF8.self)
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    @Test("keeps its form, what isn't changed, and its order", arguments: [list, lines])
    func unchanged(text: String) throws {
        let document = try UsersDocument.parse(Array(text.utf8), path: "users")
        #expect(document.users.map(\.name) == ["zoë", "bob"])
        #expect(String(decoding: document.octets, as: UTF8.self) == text)
    }

    @Test("adds, changes and removes one user", arguments: [list, lines, "{\"a\": \"\(digest)\"}"])
    func changes(text: String) throws {
        var document = try UsersDocument.parse(Array(text.utf8), path: "users")
        let before = document.users
        #expect(try document.set("carol", try hash("{PLAIN}three"), senders: nil))
        #expect(try !document.set("carol", try hash("{PLAIN}four"), senders: nil))
        let octets = document.octets
        let again = try UsersDocument.parse(octets, path: "users")
        #expect(again.users == before + [again.users[before.count]])
        var findings = FileFindings(path: "users")
        let users = try Users.parse(octets, &findings)
        let isRight = users.verify(Credentials("carol", "four"))
        #expect(isRight == .accepted(user: "carol", allowedSenders: nil))
        try document.remove("carol")
        #expect(try UsersDocument.parse(document.octets, path: "users").users == before)
        for user in before { try document.remove(user.name) }
        #expect(document.users == [])
        #expect(throws: UsersFileChangeError.unknownUser) { try document.remove("carol") }
    }

    @Test("keeps a user's senders unless told others")
    func senders() throws {
        var document = try UsersDocument.parse(Array(Self.list.utf8), path: "users")
        _ = try document.set("zoë", try hash(Self.digest), senders: nil)
        #expect(document.users[0].allowedSenders == ["a.example"])
        _ = try document.set("zoë", try hash(Self.digest), senders: ["b.example"])
        #expect(document.users[0].allowedSenders == ["b.example"])
        #expect(throws: UsersFileChangeError.notASender("not a sender")) {
            try document.set("zoë", try hash(Self.digest), senders: ["not a sender"])
        }
        var lines = try UsersDocument.parse(Array(Self.lines.utf8), path: "users")
        #expect(throws: UsersFileChangeError.holdsNoSenders) {
            try lines.set("bob", try hash(Self.digest), senders: ["b.example"])
        }
    }

    @Test("takes no name that the file couldn't hold", arguments: ["", "a\u{1}", "a\nb"])
    func names(name: String) throws {
        var document = UsersDocument()
        #expect(throws: UsersFileChangeError.invalidName) {
            try document.set(name, try hash(Self.digest), senders: nil)
        }
    }

    @Test("takes no name into a line that would be another's", arguments: ["a:b", "#a", " #a"])
    func namesOfLines(name: String) throws {
        var document = try UsersDocument.parse(Array(Self.lines.utf8), path: "users")
        #expect(throws: UsersFileChangeError.invalidName) {
            try document.set(name, try hash(Self.digest), senders: nil)
        }
    }

    @Test("replaces the file as a whole, and lets nobody else read it")
    func file() throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/users.json"
        _ = try UsersDocument.change(path, isMade: true) {
            document throws(UsersFileChangeError) in
            _ = try? document.set("bob", PasswordHash(Self.digest), senders: nil)
        }
        #expect(mode(path) == 0o600)
        #expect(try text(path).contains("\"bob\""))
        #expect(unsafe chmod(path, 0o644) == 0)
        let link = "\(folder.path)/link"
        #expect(unsafe symlink("users.json", link) == 0)
        try UsersDocument.change(link, isMade: false) {
            document throws(UsersFileChangeError) in try document.remove("bob")
        }
        #expect(try text(path) == "{\"users\": []}\n")
        #expect(mode(path) == 0o640)
        var status = stat()
        #expect(unsafe lstat(link, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
    }

    @Test("leaves a file alone that it doesn't understand, and one that isn't there")
    func refusals() throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("users", "{\"users\": 7}")
        for file in [path, "\(folder.path)/none"] {
            do throws(UsersFileChangeError) {
                try UsersDocument.change(file, isMade: false) {
                    document throws(UsersFileChangeError) in try document.remove("bob")
                }
                Issue.record("changed")
            } catch {
                guard case .unreadable = error else { throw error }
            }
        }
        #expect(try text(path) == "{\"users\": 7}")
        do throws(UsersFileChangeError) {
            try UsersDocument.change("\(folder.path)/no/users", isMade: true) {
                _ throws(UsersFileChangeError) in
            }
            Issue.record("changed")
        } catch {
            guard case .unwritable = error else { throw error }
        }
    }
}
