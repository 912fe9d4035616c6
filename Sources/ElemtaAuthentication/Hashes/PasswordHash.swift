import COpenSSL

/// A password as a users file keeps it. Whatever prints it prints `(secret)`.
///
/// | text | is |
/// | --- | --- |
/// | `$2b$...`, `$y$...`, `$6$...`, `{CRYPT}$...` | crypt(5), by libxcrypt |
/// | `{SHA}`, `{SHA256}`, `{SHA512}` | base64 of the digest |
/// | `{SSHA}`, `{SSHA256}`, `{SSHA512}` | base64 of digest and salt |
/// | `{PLAIN}secret` | the password itself |
/// | anything else that begins with neither `{` nor `$` | the password itself, worth a warning |
public struct PasswordHash: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    private enum Kind {
        case crypt(CryptHash)
        case digest(DigestHash)
        case plain(Password)
    }

    /// Why a text is no hash. Never says more of it than the name of its scheme.
    public enum Failure: Error, Equatable, CustomStringConvertible {
        case empty
        /// `{MD5}`, `$apr1$`...: nobody here can verify it. Nil when the text doesn't begin with
        /// the name of any scheme known elsewhere: it may be a password.
        case unknownScheme(String?)
        /// The scheme is known and what follows isn't what it should be: cut off, or not base64.
        case malformed(scheme: String)
        /// A plain password that no client may give: NUL in it, or too long.
        case impossible
        /// libxcrypt couldn't make a hash: `errno`.
        case notMade(Int32)

        public var description: String {
            switch self {
            case .empty: "an empty password"
            case .unknownScheme(let name): "an unknown hash scheme\(name.map { ", \($0)" } ?? "")"
            case .malformed(let scheme): "a damaged \(scheme) hash"
            case .impossible:
                "a password with a NUL octet or of more than \(Password.maximumCount) octets"
            case .notMade(let code): "no hash (errno \(code))"
            }
        }
    }

    private let kind: Kind

    /// The text to keep in a users file.
    public let revealed: String

    /// Whether `revealed` is a password without `{PLAIN}` before it: most likely one that somebody
    /// forgot to hash.
    public let isBare: Bool

    /// Reads a hash. Costs next to nothing: no hash is computed.
    public init(_ text: String) throws(Failure) {
        guard !text.isEmpty else { throw .empty }
        revealed = text
        switch text.utf8.first {
        case UInt8(ascii: "$"):
            isBare = false
            kind = .crypt(try CryptHash(text[...]))
        case UInt8(ascii: "{"):
            isBare = false
            kind = try Self.labelled(text)
        default:
            isBare = true
            kind = .plain(try Self.plain(text[...]))
        }
    }

    private static func labelled(_ text: String) throws(Failure) -> Kind {
        guard let end = text.firstIndex(of: "}") else { throw .unknownScheme(nil) }
        let name = text[text.index(after: text.startIndex)..<end].uppercased()
        let rest = text[text.index(after: end)...]
        if name == "PLAIN" { return .plain(try plain(rest)) }
        if name == "CRYPT" { return .crypt(try CryptHash(rest)) }
        guard let scheme = DigestHash.Scheme(rawValue: name) else {
            throw .unknownScheme(foreignScheme("{\(name)}"))
        }
        guard let hash = DigestHash(scheme, base64: rest.utf8) else {
            throw .malformed(scheme: "{\(name)}")
        }
        return .digest(hash)
    }

    private static func plain(_ text: Substring) throws(Failure) -> Password {
        let password = Password(text.utf8)
        guard password.octets.count > 0 else { throw .empty }
        guard password.isPossible else { throw .impossible }
        return password
    }

    /// `name` when it is a scheme of other programs. Else nil: whoever begins a password with a
    /// brace or a dollar must not find it in a log.
    static func foreignScheme(_ name: String) -> String? {
        foreignSchemes.contains(name) ? name : nil
    }

    private static let foreignSchemes: Set<String> = [
        "{ARGON2}", "{ARGON2I}", "{ARGON2ID}", "{BLF-CRYPT}", "{CLEAR}", "{CLEARTEXT}",
        "{CRAM-MD5}", "{DES-CRYPT}", "{DIGEST-MD5}", "{LDAP-MD5}", "{MD5}", "{MD5-CRYPT}", "{NTLM}",
        "{PBKDF2}", "{PBKDF2-SHA1}", "{PBKDF2-SHA256}", "{PBKDF2-SHA512}", "{PLAIN-MD5}", "{SASL}",
        "{SCRAM-SHA-1}", "{SCRAM-SHA-256}", "{SHA1}", "{SHA256-CRYPT}", "{SHA384}",
        "{SHA512-CRYPT}", "{SMD5}", "{SSHA384}", "{UNIX}", "$2$", "$2x$", "$3$", "$apr1$",
        "$argon2d$", "$argon2i$", "$argon2id$", "$md5$", "$pbkdf2$", "$pbkdf2-sha256$",
        "$pbkdf2-sha512$", "$scrypt$",
    ]

    /// Whether this is the hash of `password`. Takes as long for a wrong password as for the right
    /// one.
    public func matches(_ password: Password) -> Bool {
        guard password.isPossible else { return false }
        return switch kind {
        case .crypt(let hash): hash.matches(password)
        case .digest(let hash): hash.matches(password)
        // Digests are equally long whatever the passwords are.
        case .plain(let own):
            areEqual(Digest.sha256.of(own.octets), Digest.sha256.of(password.octets))
        }
    }

    /// About how many nanoseconds `matches` takes on a processor of 2020, for comparing hashes.
    var cost: UInt64 {
        switch kind {
        case .crypt(let hash): hash.cost
        case .digest, .plain: 1_000
        }
    }

    /// What new hashes are made with.
    public enum Method: Sendable {
        /// `$y$`, libxcrypt's own choice of cost: 16 MiB and about 20 ms.
        case yescrypt
        /// `$2b$` at cost 12, about 200 ms, for files that other programs read too. Takes no
        /// password of more than 72 octets: it wouldn't look at the rest.
        case bcrypt
    }

    /// Hashes `password` with a salt from the system's random source. Throws `.impossible` for what
    /// the method can't take, `.notMade` when libxcrypt fails.
    public static func make(
        _ password: Password, with method: Method = .yescrypt
    ) throws(Failure) -> PasswordHash {
        guard password.octets.count > 0 else { throw .empty }
        guard password.isPossible else { throw .impossible }
        switch method {
        case .yescrypt: return try PasswordHash(CryptHash.make(password, prefix: "$y$", cost: 0))
        case .bcrypt:
            guard password.octets.count <= 72 else { throw .impossible }
            return try PasswordHash(CryptHash.make(password, prefix: "$2b$", cost: 12))
        }
    }

    public var description: String { "(secret)" }
    public var debugDescription: String { "(secret)" }
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// Compares in a time that depends on the lengths only, by `CRYPTO_memcmp(3)`.
func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    return unsafe left.withUnsafeBytes { left in
        unsafe right.withUnsafeBytes { right in
            // Safe because both are as long as they say; with nothing in them nothing is read.
            unsafe left.count == 0
                || CRYPTO_memcmp(left.baseAddress, right.baseAddress, left.count) == 0
        }
    }
}
