import ElemtaConfiguration

/// Keys that the configuration knows and this version can't honour yet.
///
/// A server that ignored `auth.required` or `tls: implicit` would be an open one; so whoever
/// switches such a feature on is told before anything listens. Defaults never count.
enum UnbuiltFeatures {
    /// One sentence per key that is set and isn't built; empty when everything asked for works.
    static func complaints(about configuration: Configuration) -> [String] {
        let keys =
            securityKeys(configuration) + operationKeys(configuration)
        return keys.map { "\($0) is set, but this version of elemta can't do that yet" }
    }

    private static func securityKeys(_ configuration: Configuration) -> [String] {
        selected([
            ("user", configuration.user != nil)
        ])
    }

    private static func operationKeys(_ configuration: Configuration) -> [String] {
        selected([
            ("logging.format: json", configuration.logging.format == .json),
            ("http.listen_addr", configuration.http.listenAddr != nil),
        ])
    }

    private static func selected(_ keys: [(String, Bool)]) -> [String] {
        keys.filter(\.1).map(\.0)
    }
}
