/// A users file in the hands of somebody who changes it: of its three forms it keeps the one that it
/// has, and of its entries and comments all that isn't changed.
public struct UsersDocument {
    /// One user, as the file says it.
    public struct User: Equatable, Sendable {
        public let name: String
        let hash: String
        /// Nil: may send as anybody.
        public let allowedSenders: [String]?

        /// How the password is kept: "$y$", "{SSHA}", or "plain text".
        public var method: String {
            guard let end = hash.dropFirst().firstIndex(where: { $0 == "$" || $0 == "}" }),
                hash.hasPrefix("$") || hash.hasPrefix("{")
            else { return "plain text" }
            return String(hash[...end])
        }
    }

    enum Form {
        /// `{"users": [...]}`
        case list
        /// `{"name": "hash"}`
        case map
        /// `name:hash`; the lines that are no user's keep their places.
        case lines([Substring])
    }

    private(set) var form: Form
    /// In the order of the file.
    public private(set) var users: [User]

    /// A new file: a list without users.
    init() {
        form = .list
        users = []
    }

    init(form: Form, users: [User]) {
        self.form = form
        self.users = users
    }

    /// Adds a user, or gives one that is there another password, and other senders where `senders`
    /// isn't nil. Returns whether the user is new.
    public mutating func set(
        _ name: String, _ hash: PasswordHash, senders: [String]?
    ) throws(UsersFileChangeError) -> Bool {
        guard isUserName(name), fits(name) else { throw .invalidName }
        if let senders { try check(senders, of: name) }
        let place = users.firstIndex { $0.name == name }
        let user = User(
            name: name, hash: hash.revealed,
            allowedSenders: senders ?? place.flatMap { users[$0].allowedSenders })
        setLine(of: name, "\(name):\(hash.revealed)")
        if let place { users[place] = user } else { users.append(user) }
        return place == nil
    }

    public mutating func remove(_ name: String) throws(UsersFileChangeError) {
        guard let place = users.firstIndex(where: { $0.name == name }) else {
            throw .unknownUser
        }
        users.remove(at: place)
        setLine(of: name, nil)
    }

    /// Whether a line may begin with the name.
    private func fits(_ name: String) -> Bool {
        guard case .lines = form else { return true }
        return Self.user(of: "\(name):"[...]).map { $0[...] == name[...] } ?? false
    }

    private func check(
        _ senders: [String], of name: String
    ) throws(UsersFileChangeError) {
        if case .list = form {} else { throw .holdsNoSenders }
        do throws(AllowedSenders.NotASender) {
            _ = try AllowedSenders(senders)
        } catch {
            throw .notASender(senders[error.index])
        }
    }

    /// Replaces a user's line, removes it (nil) or adds one at the end.
    private mutating func setLine(of name: String, _ text: String?) {
        guard case .lines(var lines) = form else { return }
        let place = lines.firstIndex { Self.user(of: $0)?[...] == name[...] }
        switch (place, text) {
        case (let place?, let text?): lines[place] = text[...]
        case (let place?, nil): lines.remove(at: place)
        case (nil, let text?): lines.append(text[...])
        case (nil, nil): break
        }
        form = .lines(lines)
    }

    /// Whom a line of the form `name:hash` is about; nil for blank ones and comments.
    private static func user(of line: Substring) -> Substring? {
        guard let first = line.utf8.first(where: { !isBlank($0) }), first != UInt8(ascii: "#"),
            let colon = line.firstIndex(of: ":")
        else { return nil }
        return line[..<colon]
    }

    /// Reads what the file holds; throws everything that is wrong with it, as the server would.
    static func parse(_ octets: [UInt8], path: String) throws(FileErrors) -> UsersDocument {
        var findings = FileFindings(path: path)
        _ = try Users.parse(octets, &findings)
        let content = octets.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(octets.dropFirst(3)) : octets
        if content.first(where: { !isBlank($0) }) == UInt8(ascii: "{") {
            return json(content)
        }
        let text = String(decoding: content, as: UTF8.self)
        var lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
        if lines.last?.isEmpty == true { lines.removeLast() }
        let users = lines.compactMap { line -> User? in
            guard let name = user(of: line) else { return nil }
            return User(
                name: String(name), hash: String(line[name.endIndex...].dropFirst()),
                allowedSenders: nil)
        }
        return UsersDocument(form: .lines(lines), users: users)
    }

    /// What the file is to hold.
    var octets: [UInt8] {
        let text =
            switch form {
            case .list: listText
            case .map: mapText
            // A file of nothing would be refused.
            case .lines(let lines):
                (lines.isEmpty ? ["# user:hash"] : lines)
                    .map { $0 + "\n" }.joined()
            }
        return Array(text.utf8)
    }
}

/// Why a users file wasn't changed. Never holds a secret.
public enum UsersFileChangeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// It can't be read, or not understood.
    case unreadable(FileErrors)
    /// The system's words.
    case unwritable(String)
    case unknownUser
    case invalidName
    case notASender(String)
    /// Only the form `{"users": [...]}` has a place for senders.
    case holdsNoSenders

    public var description: String {
        switch self {
        case .unreadable(let errors): errors.description
        case .unwritable(let text): text
        case .unknownUser: "there is no such user"
        case .invalidName:
            "a user's name is 1 to \(Credentials.maximumUserCount) octets without control characters"
                + " and, in a file of lines, without a colon"
        case .notASender(let text):
            "\(String(text.prefix(80)).debugDescription) is no sender; allowed: an address, "
                + "\"example.com\" or \".example.com\""
        case .holdsNoSenders:
            "only a file of the form {\"users\": [...]} has a place for allowed senders"
        }
    }
}
