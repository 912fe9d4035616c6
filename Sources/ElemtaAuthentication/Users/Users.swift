/// What a users file holds.
public struct Users: WatchedContent {
    struct Entry: Sendable {
        let hash: PasswordHash
        let allowedSenders: AllowedSenders?
    }

    /// Some fifty thousand users, in octets: 8 MiB.
    static let maximumOctets = 8 << 20

    private let entries: [String: Entry]
    /// Those of `entries`, to be picked from for users who aren't there.
    private let hashes: [PasswordHash]
    /// The one that takes longest to verify: what a wrong password costs, whoever it is for.
    private let costliest: PasswordHash?

    /// What is allowed and still looks like a mistake: plain passwords, a file that everybody
    /// reads.
    public let warnings: [FileProblem]

    init(entries: [String: Entry], warnings: [FileProblem]) {
        self.entries = entries
        self.warnings = warnings
        hashes = entries.values.map(\.hash)
        costliest = hashes.max { $0.cost < $1.cost }
    }

    /// Reads a users file, whichever of its forms it has. Throws everything that is wrong with it.
    public static func read(_ path: String) throws(FileErrors) -> Users {
        try readStamped(path).content
    }

    /// With the stamp that the file had before the first octet was read.
    static func readStamped(
        _ path: String
    ) throws(FileErrors) -> (content: Users, stamp: FileStamp) {
        let file = try FileContent(path, maximumCount: maximumOctets)
        var findings = FileFindings(path: path)
        if file.isReadByEverybody {
            findings.warn("is readable by every user of the system; allowed to fewer: chmod 640")
        }
        return (try parse(file.octets, &findings), file.stamp)
    }

    /// Reads `octets` as the content of a users file.
    static func parse(
        _ octets: [UInt8], _ findings: inout FileFindings
    ) throws(FileErrors) -> Users {
        let content = octets.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(octets.dropFirst(3)) : octets
        var builder = UsersBuilder(findings: findings)
        // What an editor or a script leaves between emptying and writing is not a file without
        // users.
        switch content.first(where: { !isBlank($0) }) {
        case nil: builder.findings.refuse("is empty; allowed: {\"users\": []}")
        case UInt8(ascii: "{"), UInt8(ascii: "["): builder.addJSON(content)
        default: builder.addLines(content)
        }
        findings = builder.findings
        guard findings.problems.isEmpty else { throw findings.errors }
        return Users(entries: builder.entries, warnings: findings.warnings)
    }

    /// In alphabetical order.
    public var names: [String] { entries.keys.sorted() }

    public var count: Int { entries.count }

    /// What the file says about `user`; nil when there is no such user.
    public func passwordHash(of user: String) -> PasswordHash? { entries[user]?.hash }

    /// Nil when there is no such user, or its senders aren't restricted.
    public func allowedSenders(of user: String) -> AllowedSenders? { entries[user]?.allowedSenders }

    /// Accepts or rejects. A rejection takes at least as long as the hash that is the costliest, and
    /// for an unknown user as long as for one of those who exist, always the same one: its time tells
    /// nothing about who exists.
    public func verify(_ credentials: Credentials) -> AuthenticationResult {
        guard credentials.isPossible else { return .rejected }
        let entry = entries[credentials.user]
        guard let hash = entry?.hash ?? standIn(for: credentials.user) else { return .rejected }
        let isRight = hash.matches(credentials.password)
        if isRight, let entry {
            return .accepted(user: credentials.user, allowedSenders: entry.allowedSenders)
        }
        if let costliest, hash.cost < costliest.cost {
            // For its time alone.
            _ = costliest.matches(credentials.password)
        }
        return .rejected
    }

    /// The hash that is verified for a user who isn't there; nil when nobody is.
    private func standIn(for user: String) -> PasswordHash? {
        hashes.isEmpty ? nil : hashes[Int(user.hashValue.magnitude % UInt(hashes.count))]
    }
}

func isBlank(_ octet: UInt8) -> Bool {
    octet == 0x20 || (0x09...0x0D).contains(octet)
}

/// Gathers the entries of a users file and what is wrong with them.
struct UsersBuilder {
    private(set) var entries: [String: Users.Entry] = [:]
    var findings: FileFindings

    init(findings: FileFindings) {
        self.findings = findings
    }

    /// `senders` nil: not restricted.
    mutating func add(_ user: String, hash text: String, senders: [String]?, line: Int) {
        guard isUserName(user) else {
            return findings.refuse(
                line: line, user: user,
                "found a name that is empty, has control characters or more than "
                    + "\(Credentials.maximumUserCount) octets")
        }
        guard entries[user] == nil else {
            return findings.refuse(line: line, user: user, "is there twice")
        }
        let hash: PasswordHash
        do throws(PasswordHash.Failure) {
            hash = try PasswordHash(text)
        } catch {
            return findings.refuse(line: line, user: user, "found \(error)")
        }
        if hash.isBare {
            findings.warn(
                line: line, user: user,
                "the password is plain text; write a hash, or {PLAIN} before it")
        }
        var allowed: AllowedSenders?
        if let senders {
            allowed = allowedSenders(senders, line: line, user: user)
            if allowed == nil { return }
        }
        entries[user] = Users.Entry(hash: hash, allowedSenders: allowed)
    }

    /// Nil when something is wrong with the list, which is then among the findings.
    private mutating func allowedSenders(
        _ texts: [String], line: Int, user: String
    ) -> AllowedSenders? {
        guard !texts.isEmpty else {
            findings.refuse(
                line: line, user: user,
                "allowed_senders is empty; leave it out to allow every sender")
            return nil
        }
        do throws(AllowedSenders.NotASender) {
            return try AllowedSenders(texts)
        } catch {
            let found = String(texts[error.index].prefix(80)).debugDescription
            findings.refuse(
                line: line, user: user,
                "allowed_senders[\(error.index)]: found \(found); allowed: an address, "
                    + "\"example.com\" or \".example.com\"")
            return nil
        }
    }

    /// `user:hash` lines; `#` begins a comment line.
    mutating func addLines(_ octets: [UInt8]) {
        let lines = octets.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let content = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard let first = content.first(where: { !isBlank($0) }), first != UInt8(ascii: "#")
            else { continue }
            guard let text = String(validating: content, as: UTF8.self) else {
                findings.refuse(line: index + 1, "found octets that are not UTF-8")
                continue
            }
            guard let colon = text.firstIndex(of: ":") else {
                findings.refuse(line: index + 1, "found a line without a colon; allowed: user:hash")
                continue
            }
            add(
                String(text[..<colon]), hash: String(text[text.index(after: colon)...]),
                senders: nil, line: index + 1)
        }
    }
}
