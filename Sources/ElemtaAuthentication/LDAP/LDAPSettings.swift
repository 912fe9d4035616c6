public import ElemtaThreads

/// How a directory is asked: `auth.ldap`, `recipients[].ldap`.
public struct LDAPSettings: Sendable {
    /// One or more `ldap://`, `ldaps://` or `ldapi://` URLs, separated by spaces: the first that
    /// answers is used.
    public var url: String
    /// Where the search begins; empty: the directory's root.
    public var baseDN = ""
    /// Who searches; empty: anonymous.
    public var bindDN = ""
    /// The password of `bindDN`.
    public var bindPassword: Password?
    /// RFC 4515; each `{user}` stands for the name given, escaped.
    public var userFilter = "(mail={user})"
    /// StartTLS (RFC 4511 4.14) before anything else is said on an `ldap://` connection.
    public var startTLS = false
    /// PEM, the authorities to trust; nil: the system's. A certificate that they didn't sign, or
    /// that is for another name, ends the connection.
    public var caFile: String?
    /// For each step: connecting, the handshake, a bind, a search. At least a second.
    public var timeout = Duration.seconds(5)

    public init(url: String) {
        self.url = url
    }
}

/// Why a directory can't be asked with these settings, whatever it answers.
public enum LDAPSettingsError: Error, Equatable, CustomStringConvertible {
    /// libldap doesn't understand it.
    case url(String)
    /// The filter doesn't mention `{user}`: any name would do.
    case filterWithoutUser(String)
    /// StartTLS on a connection that begins with TLS.
    case startTLSOnLDAPS
    /// A DN without a password is an anonymous bind that looks like another (RFC 4513 5.1.2).
    case bindDNWithoutPassword
    /// A NUL, at which libldap would stop reading.
    case nul
    case caFile(String)
    /// The thread that watches over timeouts can't be started.
    case thread(ThreadError)

    public var description: String { description(at: "auth.ldap") }

    /// `section`: the keys of the configuration that the settings are from.
    public func description(at section: String) -> String {
        switch self {
        case .url(let url):
            "\(section).url: found \(url.debugDescription); allowed: ldap://, ldaps:// or ldapi://"
        case .filterWithoutUser(let filter):
            "\(section).user_filter: found \(filter.debugDescription); allowed: a filter with {user}"
        case .startTLSOnLDAPS: "\(section).starttls: the URL is ldaps:// already"
        case .bindDNWithoutPassword: "\(section).bind_dn: allowed: only with a password"
        case .nul: "\(section): found a NUL"
        case .caFile(let path): "\(section).ca_file: \(path): cannot be read"
        case .thread(let error): "\(section): \(error)"
        }
    }
}

/// What went wrong between us and the directory, for the log. Never holds a password.
public struct LDAPError: Error, Equatable, Sendable, CustomStringConvertible {
    public let operation: String
    /// libldap's: positive ones come from the directory (RFC 4511 4.1.9), negative ones from
    /// libldap.
    public let code: Int32
    /// What the directory or the TLS library said about it; empty when nothing.
    public let detail: String

    public var description: String {
        let text = "LDAP: \(operation): \(Self.text(of: code)) (\(code))"
        return detail.isEmpty ? text : "\(text): \(detail)"
    }
}

/// `text` as the value of an assertion (RFC 4515 3): nothing in it ends the value or is a wildcard.
func escapedForFilter(_ text: String) -> String {
    var escaped: [UInt8] = []
    for octet in text.utf8 {
        switch octet {
        case 0..<0x20, UInt8(ascii: "*"), UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "\\"),
            0x7F:
            let hex = String(octet, radix: 16)
            escaped += "\\\(hex.count == 1 ? "0" : "")\(hex)".utf8
        default: escaped.append(octet)
        }
    }
    return String(decoding: escaped, as: UTF8.self)
}

/// `filter` with `user` in the place of each `{user}`.
func userFilter(_ filter: String, for user: String) -> String {
    pieces(of: filter).joined(separator: escapedForFilter(user))
}

/// What stands before, between and after each `{user}`: at least two pieces if there is one.
func pieces(of filter: String) -> [String] {
    var pieces: [String] = []
    var piece: [Character] = []
    for character in filter {
        piece.append(character)
        if piece.suffix(6).elementsEqual("{user}") {
            pieces.append(String(piece.dropLast(6)))
            piece = []
        }
    }
    return pieces + [String(piece)]
}
