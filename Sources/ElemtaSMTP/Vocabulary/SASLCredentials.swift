/// A user's name and password as AUTH brought them (RFC 4954).
///
/// Whatever prints it, a log line or a debugger's dump, prints no password. The octets are
/// overwritten when the last reference goes; copies that others make are theirs to overwrite.
public final class SASLCredentials: @unchecked Sendable {
    // Unchecked because of `secret`, which nobody writes between `init` and `deinit`.

    /// The authentication identity: UTF-8 without controls, never empty.
    public let user: String
    private var secret: [UInt8]
    private let password: Range<Int>

    /// Nil when `user` can't be anybody's name or the password nobody's. An empty one must reach no
    /// directory: an LDAP bind with it succeeds for everybody (RFC 4513 5.1.2). Of one with a NUL,
    /// which LOGIN could bring, crypt(3) would see the beginning alone.
    ///
    /// - Parameters:
    ///   - message: whose `password` is the password; all of it is overwritten in the end.
    init?(user: some Collection<UInt8>, message: consuming [UInt8], password: Range<Int>) {
        guard !user.isEmpty, !password.isEmpty, !user.contains(where: \.isControl),
            !message[password].contains(0),
            let name = String(validating: user, as: UTF8.self)
        else {
            Self.wipe(&message)
            return nil
        }
        self.user = name
        secret = message
        self.password = password
    }

    deinit { Self.wipe(&secret) }

    /// Lends the octets of the password.
    public func withPassword<Result>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
        // Another reference to the octets, not another copy of them.
        let lent = secret
        return try body(lent.span.extracting(password))
    }

    /// In a function of its own, so that it can't be seen that nobody reads the octets again.
    @inline(never)
    static func wipe(_ octets: inout [UInt8]) {
        for index in octets.indices { octets[index] = 0 }
    }
}

extension SASLCredentials: CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    public var description: String { "(credentials)" }
    public var debugDescription: String { "(credentials)" }
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
