import COpenSSL

/// The versions of TLS that are spoken. Older ones are not: RFC 8996.
public enum TLSVersion: Hashable, Sendable {
    /// RFC 5246
    case v12
    /// RFC 8446
    case v13

    var number: Int {
        switch self {
        case .v12: Int(TLS1_2_VERSION)
        case .v13: Int(TLS1_3_VERSION)
        }
    }
}
