public import ElemtaSMTP

/// A password as a client gave it. Whatever prints it, a log line or a debugger's dump, prints
/// `(secret)`.
public struct Password: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Longer ones are never right, so that nobody can have megabytes hashed.
    public static let maximumCount = 1024

    /// Shared by all copies, and overwritten when the last one goes.
    let octets: SecretOctets

    public init(_ text: String) {
        octets = SecretOctets(text.utf8)
    }

    public init(_ octets: some Collection<UInt8>) {
        self.octets = SecretOctets(octets)
    }

    init(_ octets: Span<UInt8>) {
        self.octets = SecretOctets(octets)
    }

    /// Whether somebody typed the same twice.
    public func isEqual(to other: Password) -> Bool {
        areEqual(Digest.sha256.of(octets), Digest.sha256.of(other.octets))
    }

    /// Whether any back end may see it. An empty one would make an LDAP bind an anonymous success
    /// (RFC 4513 5.1.2); libcrypt would read only what stands before a NUL.
    var isPossible: Bool {
        (1...Self.maximumCount).contains(octets.count)
            && !octets.contains(0)
    }

    public var description: String { "(secret)" }
    public var debugDescription: String { "(secret)" }
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// What a client authenticates with: RFC 4616's authcid and passwd, or what it answered to LOGIN.
public struct Credentials: Sendable {
    /// RFC 4616 asks for at least 255 octets.
    public static let maximumUserCount = 1024

    /// Empty when what came is no user name: too long, or with control octets.
    public let user: String
    public let password: Password

    /// What AUTH brought. What can't be a name or a password is rejected like a wrong one, by the
    /// back end.
    public init(_ credentials: SASLCredentials) {
        self.init(
            user: credentials.user, password: credentials.withPassword { Password($0) })
    }

    public init(user: String, password: Password) {
        self.user = isUserName(user) ? user : ""
        self.password = password
    }

    var isPossible: Bool { !user.isEmpty && password.isPossible }
}

/// Whether `text` may name a user: it will stand in logs and header fields.
func isUserName(_ text: String) -> Bool {
    (1...Credentials.maximumUserCount).contains(text.utf8.count)
        && !text.utf8.contains { $0 < 0x20 || $0 == 0x7F }
}

/// What became of credentials.
public enum AuthenticationResult: Sendable, Equatable {
    /// They are right (235 2.7.0). `allowedSenders` nil: this user may send as anybody.
    case accepted(user: String, allowedSenders: AllowedSenders?)
    /// They are wrong, whichever part of them (535 5.7.8).
    case rejected
    /// Nobody could tell (454 4.7.0).
    case temporarilyUnavailable
}

/// Where credentials are looked up. Calls block, for milliseconds (a hash) or seconds (a
/// directory), and come from several threads at once: those of the `CredentialsPool`.
public protocol AuthenticationBackend: Sendable {
    func verify(_ credentials: Credentials) -> AuthenticationResult
}
