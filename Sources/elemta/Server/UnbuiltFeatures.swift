import ElemtaConfiguration

/// Keys that the configuration knows and this version can't honour yet.
///
/// A server that ignored `auth.required` or `tls: implicit` would be an open one; so whoever
/// switches such a feature on is told before anything listens. Defaults never count.
enum UnbuiltFeatures {
    /// One sentence per key that is set and isn't built; empty when everything asked for works.
    static func complaints(about configuration: Configuration) -> [String] {
        let keys = [("http.listen_addr", configuration.http.listenAddr != nil)]
        return keys.filter(\.1).map {
            "\($0.0) is set, but this version of elemta can't do that yet"
        }
    }
}
