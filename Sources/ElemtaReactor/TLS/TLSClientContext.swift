import COpenSSL
import Glibc

/// What the TLS sessions that we begin have in common. Never changes; threads may share it.
@safe public final class TLSClientContext: Sendable {
    /// What becomes of a server that can't show who it is.
    public enum Policy: Hashable, Sendable {
        /// It is spoken to all the same, as any encryption is better than none (RFC 7435);
        /// ``TLSDescription/verificationProblem`` says what is wrong.
        case opportunistic
        /// The handshake fails.
        case required
    }

    /// Whose signature makes a server's certificate one to trust.
    public enum Authorities: Hashable, Sendable {
        /// What the system trusts: `/etc/ssl/certs`, or as `SSL_CERT_FILE` and `SSL_CERT_DIR` say.
        case system
        /// The certificates in a PEM file.
        case file(String)
    }

    public let policy: Policy
    private let context: SSLContext

    /// Throws what names the file of the authorities where it is at fault.
    public init(
        _ policy: Policy, authorities: Authorities = .system, minimum: TLSVersion = .v12
    ) throws(TLSContextError) {
        self.policy = policy
        context = try SSLContext(.client, minimum: minimum)
        try Self.load(authorities, into: context)
        switch policy {
        case .opportunistic:
            // Old servers have short keys and SHA-1 signatures: refused here they would be spoken
            // to in clear.
            try context.setCiphers("DEFAULT:@SECLEVEL=1")
            unsafe SSL_CTX_set_verify(context.pointer, SSL_VERIFY_NONE, nil)
        case .required:
            unsafe SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER, nil)
        }
    }

    private static func load(
        _ authorities: Authorities, into context: SSLContext
    ) throws(TLSContextError) {
        ERR_clear_error()
        switch authorities {
        case .system:
            guard unsafe SSL_CTX_set_default_verify_paths(context.pointer) == 1 else {
                let reason = OpenSSLErrors.takeReason()
                throw .openSSL(call: "SSL_CTX_set_default_verify_paths", reason: reason)
            }
        case .file(let file):
            try TLSContextError.check(file)
            guard unsafe SSL_CTX_load_verify_file(context.pointer, file) == 1 else {
                throw .noAuthorities(file: file, reason: OpenSSLErrors.takeReason())
            }
        }
    }

    /// A session that begins the handshake with the server called `name`: asks for it (SNI) and
    /// compares the certificate with it (RFC 6125). An IP address is compared, but not asked for.
    func makeSession(name: String) -> TLSSession? {
        guard let session = unsafe TLSSession(SSL_new(context.pointer)) else { return nil }
        let host = name.last == "." ? String(name.dropLast()) : name
        guard session.checkAddress(host) || session.checkName(host) else { return nil }
        return consume session
    }
}
