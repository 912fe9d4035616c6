/// Where a value was written.
public enum ConfigurationOrigin: Hashable, Sendable, CustomStringConvertible {
    /// A file; the line (the first is 1) where the parser knows it.
    case file(String, line: Int?)
    /// An environment variable, by name.
    case environment(String)
    /// An option of the command line, by name.
    case commandLine(String)
    /// No file: the built-in defaults.
    case builtIn

    public var description: String {
        switch self {
        case .file(let path, let line?): "\(path):\(line)"
        case .file(let path, nil): path
        case .environment(let name): "environment variable \(name)"
        case .commandLine(let option): option
        case .builtIn: "built-in defaults"
        }
    }
}

/// What a YAML or TOML file, or an overriding variable, says, before anybody asks what it means.
struct ConfigurationNode: Sendable {
    enum Content: Sendable {
        case scalar(Scalar)
        case list([ConfigurationNode])
        case map([Member])
    }

    enum Scalar: Sendable {
        /// YAML's `~`, `null` or nothing at all.
        case null
        case boolean(Bool)
        case integer(Int)
        /// A number that is no whole number of 64 bits, as it was written.
        case number(String)
        case text(String)
        /// What TOML has and no setting wants: dates and times.
        case other(String)
        /// From a variable or an option: its meaning is what the key wants it to be.
        case untyped(String)
        case secret(Secret)
    }

    struct Member: Sendable {
        let key: String
        let origin: ConfigurationOrigin
        var value: ConfigurationNode
    }

    var content: Content
    var origin: ConfigurationOrigin

    init(_ content: Content, at origin: ConfigurationOrigin) {
        self.content = content
        self.origin = origin
    }

    /// What was found, for an error message: short, and with nothing in it that a terminal obeys.
    var found: String {
        switch content {
        case .list: "a list"
        case .map: "a map of keys"
        case .scalar(.null): "nothing"
        case .scalar(.boolean(let value)): "\(value)"
        case .scalar(.integer(let value)): "\(value)"
        case .scalar(.number(let text)): "the number \(printable(text, quoted: false))"
        case .scalar(.text(let text)), .scalar(.untyped(let text)): printable(text, quoted: true)
        case .scalar(.other(let name)): name
        case .scalar(.secret): "a secret"
        }
    }
}

/// At most `limit` characters of `text`, with nothing in it that a terminal obeys.
func printable(_ text: String, quoted: Bool, limit: Int = 80) -> String {
    var shown = ""
    for scalar in text.unicodeScalars.prefix(limit) {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
            shown += "\\u{\(String(scalar.value, radix: 16))}"
        default:
            shown.unicodeScalars.append(scalar)
        }
    }
    if text.unicodeScalars.dropFirst(limit).first != nil { shown += "..." }
    return quoted ? "\"\(shown)\"" : shown
}
