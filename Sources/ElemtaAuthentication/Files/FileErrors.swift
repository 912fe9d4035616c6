/// One thing wrong with a users file or an address file, or worth a warning. Never holds a secret.
public struct FileProblem: Hashable, Sendable, CustomStringConvertible {
    public let path: String
    /// Counted from 1; nil when the whole file is meant.
    public let line: Int?
    /// Whom it is about, when that is known.
    public let user: String?
    /// What was found and what is allowed.
    public let text: String

    public var description: String {
        let place = line.map { "\(path):\($0)" } ?? path
        // A name may hold anything until it has been checked: quoted, and not endless.
        let about = user.map { " user \(String($0.prefix(80)).debugDescription):" } ?? ""
        return "\(place):\(about) \(text)"
    }
}

/// Why a file was refused: everything that is wrong with it, in the order of the file.
public struct FileErrors: Error, Sendable, Equatable, CustomStringConvertible {
    /// Never empty; at most 100.
    public let problems: [FileProblem]

    /// One line a problem.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// What is gathered while a file is read: nothing stops at the first mistake.
struct FileFindings {
    let path: String
    private(set) var problems: [FileProblem] = []
    private(set) var warnings: [FileProblem] = []

    /// Nobody reads more, and a hostile file could have millions.
    static let maximumCount = 100

    init(path: String) {
        self.path = path
    }

    mutating func refuse(line: Int? = nil, user: String? = nil, _ text: String) {
        guard problems.count < Self.maximumCount else { return }
        problems.append(FileProblem(path: path, line: line, user: user, text: text))
    }

    mutating func warn(line: Int? = nil, user: String? = nil, _ text: String) {
        guard warnings.count < Self.maximumCount else { return }
        warnings.append(FileProblem(path: path, line: line, user: user, text: text))
    }

    /// What the caller is told when something was refused.
    var errors: FileErrors {
        FileErrors(problems: problems.sorted { ($0.line ?? 0) < ($1.line ?? 0) })
    }
}
