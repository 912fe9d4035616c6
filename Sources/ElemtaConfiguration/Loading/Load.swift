import ElemtaSMTP

/// A configuration that is whole and checked, and where it came from.
public struct LoadedConfiguration: Sendable {
    public let configuration: Configuration
    public let source: ConfigurationSource
    /// For the log, at start.
    public let warnings: [ConfigurationProblem]
    /// Where each key that was given was given.
    let origins: [String: ConfigurationOrigin]

    /// Where the key with this path, such as `delivery.routes[0].tls`, was given; nil: nowhere, its
    /// default holds. An element of a list that was given in one piece is where the list is.
    public func origin(of key: String) -> ConfigurationOrigin? {
        if let origin = origins[key] { return origin }
        guard key.last == "]", let bracket = key.lastIndex(of: "[") else { return nil }
        return origins[String(key[..<bracket])]
    }
}

extension Configuration {
    /// A key that the command line sets: it wins over the environment and the file.
    public struct Override: Sendable {
        /// The key's path, e.g. `listen_addr`.
        public let key: String
        /// As an environment variable would hold it.
        public let value: String
        /// The option as typed, e.g. `--listen`, for error messages.
        public let option: String

        public init(key: String, value: String, option: String) {
            self.key = key
            self.value = value
            self.option = option
        }
    }

    /// Finds the file, reads it, applies the environment and the command line, and checks the
    /// result. Blocks while it reads the file, and for nothing else.
    ///
    /// - Parameters:
    ///   - explicitPath: what `--config` named.
    ///   - environment: see `processEnvironment()`.
    /// - Throws: everything that is wrong, at once; the server then exits with EX_CONFIG (78).
    public static func load(
        explicitPath: String?, environment: [String: String], overrides: [Override] = []
    ) throws(ConfigurationErrors) -> LoadedConfiguration {
        let source = ConfigurationSource.find(
            explicitPath: explicitPath, environment: environment, exists: fileExists)
        let octets: [UInt8] =
            switch source {
            case .file(let path): try readConfigurationFile(path)
            case .builtIn: []
            }
        return try read(octets, from: source, environment: environment, overrides: overrides)
    }

    /// The same for octets that were read already; touches no file.
    static func read(
        _ octets: [UInt8], from source: ConfigurationSource, environment: [String: String] = [:],
        overrides: [Override] = [], systemHostname: String? = systemHostname()
    ) throws(ConfigurationErrors) -> LoadedConfiguration {
        var findings = Findings(whole: source.origin)
        guard var tree = parse(octets, from: source, &findings) else { throw findings.errors }
        applyEnvironment(environment, to: &tree, &findings)
        applyOverrides(overrides, to: &tree, &findings)
        let name = systemHostname.flatMap(asciiDomain)
        guard let hostname = name ?? Domain("localhost") else {
            findings.refuse("hostname", "missing, and the system's host name cannot be used")
            throw findings.errors
        }
        var configuration = Configuration(hostname: hostname)
        entries.read(tree, "", into: &configuration, &findings)
        configuration.check(&findings)
        if name == nil, findings.origins["hostname"] == nil {
            findings.warn(
                "hostname", "\(hostname) is used, since the system's host name is no domain name")
        }
        guard findings.problemCount == 0 else { throw findings.errors }
        return LoadedConfiguration(
            configuration: configuration, source: source, warnings: findings.warnings,
            origins: findings.origins)
    }

    /// The tree of a file; nil when it isn't one, which the findings then say.
    private static func parse(
        _ octets: [UInt8], from source: ConfigurationSource, _ findings: inout Findings
    ) -> ConfigurationNode? {
        switch source {
        case .builtIn:
            return ConfigurationNode(.map([]), at: .builtIn)
        case .file(let path):
            guard let text = checkedText(octets, of: path, &findings) else { return nil }
            switch ConfigurationFormat(path: path) {
            case .yaml: return parseYAML(text, at: { .file(path, line: $0) }, &findings)
            case .toml: return parseTOML(text, of: path, &findings)
            case nil:
                findings.refuse(
                    "", at: .file(path, line: nil),
                    "cannot tell its format; allowed: a name that ends in .yaml, .yml or .toml")
                return nil
            }
        }
    }
}
