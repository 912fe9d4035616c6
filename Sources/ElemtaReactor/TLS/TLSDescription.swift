import COpenSSL

/// What a TLS handshake agreed on.
public struct TLSDescription: Hashable, Sendable {
    /// `TLSv1.2` or `TLSv1.3`.
    public let protocolName: String
    /// As OpenSSL names it: `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`.
    public let cipherName: String
    /// The length of the cipher's key in bits.
    public let cipherBits: Int
    /// True where the session goes on from an earlier one, by a ticket.
    public let isResumed: Bool
    /// Why the peer's certificate isn't one to trust. Nil on a client's side when it is, and bears
    /// the right name; on a server's side always set, as clients aren't asked for certificates.
    public let verificationProblem: String?
    /// The name the client asked for (SNI). On a server's side a stranger chose it: escape it.
    public let serverName: String?

    /// The peer has a certificate of a trusted authority with the right name.
    public var isPeerVerified: Bool { verificationProblem == nil }

    /// `session` is an `SSL` after its handshake.
    @unsafe init(_ session: OpaquePointer) {
        // Safe because OpenSSL's texts end with a NUL and are copied here.
        protocolName = unsafe String(cString: SSL_get_version(session))
        let cipher = unsafe SSL_get_current_cipher(session)
        cipherName = unsafe String(cString: SSL_CIPHER_get_name(cipher))
        cipherBits = unsafe Int(SSL_CIPHER_get_bits(cipher, nil))
        isResumed = unsafe SSL_session_reused(session) == 1
        verificationProblem = unsafe Self.verificationProblem(of: session)
        let name = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name)
        serverName = unsafe name.map { unsafe String(cString: $0) }
    }

    @unsafe private static func verificationProblem(of session: OpaquePointer) -> String? {
        // Without a certificate the result says that nothing was wrong.
        guard unsafe SSL_get0_peer_certificate(session) != nil else { return "no certificate" }
        return unsafe verificationFailure(of: session)
    }

    /// What was wrong with the certificate, also before the handshake is done.
    @unsafe static func verificationFailure(of session: OpaquePointer) -> String? {
        let result = unsafe SSL_get_verify_result(session)
        guard result != Int(X509_V_OK) else { return nil }
        return unsafe String(cString: X509_verify_cert_error_string(result))
    }
}
