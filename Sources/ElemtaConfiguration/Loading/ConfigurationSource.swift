/// Where the configuration comes from.
public enum ConfigurationSource: Hashable, Sendable, CustomStringConvertible {
    case file(String)
    /// No file was named and none was found.
    case builtIn

    /// Looked for in this order when none is named.
    public static let searchedPaths = [
        "./config/elemta.yaml", "./config/elemta.toml",
        "./elemta.yaml", "./elemta.toml",
        "/etc/elemta/elemta.yaml", "/etc/elemta/elemta.toml",
    ]

    /// The file to read: the one named, else the one `ELEMTA_CONFIG` names, else the first of
    /// `searchedPaths` that exists. A file that is named is taken whether it exists or not, so that
    /// a typing error is an error and not another configuration.
    public static func find(
        explicitPath: String?, environment: [String: String], exists: (String) -> Bool
    ) -> ConfigurationSource {
        if let explicitPath { return .file(explicitPath) }
        if let path = environment["ELEMTA_CONFIG"], !path.isEmpty { return .file(path) }
        return searchedPaths.first(where: exists).map { .file($0) } ?? .builtIn
    }

    public var description: String {
        switch self {
        case .file(let path): path
        case .builtIn: "built-in defaults"
        }
    }

    var origin: ConfigurationOrigin {
        switch self {
        case .file(let path): .file(path, line: nil)
        case .builtIn: .builtIn
        }
    }
}

enum ConfigurationFormat {
    case yaml, toml

    init?(path: String) {
        if path.hasSuffix(".yaml") || path.hasSuffix(".yml") {
            self = .yaml
        } else if path.hasSuffix(".toml") {
            self = .toml
        } else {
            return nil
        }
    }
}
