/// One thing wrong with a configuration, or worth a warning.
public struct ConfigurationProblem: Hashable, Sendable, CustomStringConvertible {
    public let origin: ConfigurationOrigin
    /// The path of the key, e.g. `delivery.routes[0].deliver`; nil when no key is concerned.
    public let key: String?
    /// What was found and what is allowed.
    public let text: String

    init(_ origin: ConfigurationOrigin, key: String? = nil, _ text: String) {
        self.origin = origin
        self.key = key
        self.text = text
    }

    public var description: String {
        key.map { "\(origin): \($0): \(text)" } ?? "\(origin): \(text)"
    }
}

/// Why a configuration was refused: everything that is wrong with it, in the order of the file.
public struct ConfigurationErrors: Error, Sendable, CustomStringConvertible {
    /// Never empty.
    public let problems: [ConfigurationProblem]
    /// What would have been a warning.
    public let warnings: [ConfigurationProblem]

    /// One line a problem.
    public var description: String {
        problems.map(\.description).joined(separator: "\n")
    }
}

/// What is gathered while a configuration is read: nothing stops at the first mistake.
struct Findings {
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []
    /// Where each key that was given was given, by path.
    private(set) var origins: [String: ConfigurationOrigin] = [:]
    /// What stands for keys that weren't given: the file, or the defaults.
    let whole: ConfigurationOrigin
    private var unlisted = 0

    init(whole: ConfigurationOrigin) {
        self.whole = whole
    }

    mutating func note(_ path: String, at origin: ConfigurationOrigin) {
        origins[path] = origin
    }

    /// The origin of `path`, or of what it is a part of.
    func origin(of path: String) -> ConfigurationOrigin {
        var path = path[...]
        while true {
            if let origin = origins[String(path)] { return origin }
            guard let end = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { return whole }
            path = path[..<end]
        }
    }

    mutating func refuse(_ path: String, at origin: ConfigurationOrigin, _ text: String) {
        refuse(ConfigurationProblem(origin, key: path.isEmpty ? nil : path, text))
    }

    /// For cross-checks, whose origin is where the key was given.
    mutating func refuse(_ path: String, _ text: String) {
        refuse(path, at: origin(of: path), text)
    }

    /// Beyond `maximumProblems` they are counted only: a file of a hundred thousand unknown keys is
    /// not a configuration, and nobody reads so many lines.
    mutating func refuse(_ problem: ConfigurationProblem) {
        if problems.count < Self.maximumProblems {
            problems.append(problem)
        } else {
            unlisted += 1
        }
    }

    static let maximumProblems = 1_000

    var problemCount: Int { problems.count + unlisted }

    /// True when a further problem would only be counted: its text needs no work.
    var isFull: Bool { problems.count >= Self.maximumProblems }

    /// True when something at `path`, in it or around it was refused, so that its value says nothing.
    func hasProblem(around path: String) -> Bool {
        problems.contains { problem in
            guard let key = problem.key else { return false }
            return key.hasPrefix(path) || path.hasPrefix("\(key).")
        }
    }

    mutating func refuse(
        _ node: ConfigurationNode, _ path: String, allowed: String
    ) {
        refuse(path, at: node.origin, "found \(node.found); allowed: \(allowed)")
    }

    mutating func warn(_ path: String, at origin: ConfigurationOrigin, _ text: String) {
        guard warnings.count < Self.maximumProblems else { return }
        warnings.append(ConfigurationProblem(origin, key: path.isEmpty ? nil : path, text))
    }

    mutating func warn(_ path: String, _ text: String) {
        warn(path, at: origin(of: path), text)
    }

    /// What the caller is told when something was refused.
    var errors: ConfigurationErrors {
        let rest = ConfigurationProblem(whole, "and \(unlisted) problems more")
        return ConfigurationErrors(
            problems: inFileOrder(problems) + (unlisted > 0 ? [rest] : []),
            warnings: inFileOrder(warnings))
    }

    private func inFileOrder(_ problems: [ConfigurationProblem]) -> [ConfigurationProblem] {
        func line(_ problem: ConfigurationProblem) -> Int {
            switch problem.origin {
            case .file(_, let line): line ?? 0
            case .environment, .commandLine, .builtIn: Int.max
            }
        }
        let numbered = problems.enumerated().sorted {
            (line($0.element), $0.offset) < (line($1.element), $1.offset)
        }
        return numbered.map(\.element)
    }
}
