/// One key of the configuration, for documentation and for the environment.
public struct KeyDescription: Hashable, Sendable {
    /// e.g. `queue.max_workers`; `listeners[].address` for a key of each entry of a list.
    public let path: String
    /// A second name for the same key.
    public let alias: String?
    /// e.g. `integer`, `list of strings`.
    public let type: String
    /// What a value must be, in words.
    public let allowed: String
    /// The default as YAML writes it, or in words; nil when the key is required.
    public let defaultValue: String?
    /// What the key means, with its unit.
    public let summary: String
    let isOverridable: Bool
    let holdsMaps: Bool
    let holdsSecret: Bool

    /// The environment variable that overrides the key, with JSON for a list of maps; nil for the
    /// keys in such a list.
    public var environmentVariable: String? {
        isOverridable ? environmentName(of: path) : nil
    }

    /// For `..._file` keys that name a secret's file: the variable that holds the secret itself.
    public var secretVariable: String? {
        guard holdsSecret, isOverridable, path.hasSuffix("_file") else { return nil }
        return environmentName(of: String(path.dropLast("_file".count)))
    }
}

/// `ELEMTA_` and the path in upper case, joined by `_`.
func environmentName(of path: String) -> String {
    "ELEMTA_" + path.uppercased().split(separator: ".").joined(separator: "_")
}
