import COpenSSL

/// What a server's TLS sessions have in common: its certificates, chosen by the name that the client
/// asks for (SNI, RFC 6066 3).
///
/// Never changes. To reload make a new one and use it from then on; sessions that live keep theirs.
@safe public final class TLSServerContext: Sendable {
    /// In the order in which they were given.
    public let certificates: [TLSServerCertificate]

    /// Of at least one certificate; the first is for clients that ask for no name or for one that no
    /// certificate has.
    public init(_ certificates: [TLSServerCertificate]) {
        precondition(!certificates.isEmpty, "a server context without a certificate")
        self.certificates = certificates
    }

    /// A session that waits for a client's first octets; nil: out of memory. This object must
    /// outlive it.
    func makeSession() -> TLSSession? {
        guard let session = unsafe TLSSession(SSL_new(certificates[0].context.pointer)) else {
            return nil
        }
        // The one pointer of an application that lies in the session itself, where there is no password to
        // ask for: ex_data (`SSL_set_app_data`) costs two more allocations.
        let argument = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe SSL_set_default_passwd_cb_userdata(session.pointer, argument)
        return consume session
    }

    /// Has sessions of `context` (an `SSL_CTX`) choose their certificate. Each finds its server's
    /// context by itself, as certificates outlive those.
    @unsafe static func installNameCallback(in context: OpaquePointer) {
        unsafe elemta_SSL_CTX_set_servername(context) { session, _, _ in
            guard let session = unsafe session,
                let found = unsafe SSL_get_default_passwd_cb_userdata(session)
            else { return SSL_TLSEXT_ERR_NOACK }
            // Safe because a connection keeps the object as long as its session can ask.
            let context = unsafe Unmanaged<TLSServerContext>.fromOpaque(found)
                .takeUnretainedValue()
            return unsafe context.chooseCertificate(for: session)
        }
    }

    /// Runs while the client's first message is read; a few microseconds for each certificate.
    @unsafe private func chooseCertificate(for session: OpaquePointer) -> Int32 {
        guard let name = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) else {
            return SSL_TLSEXT_ERR_NOACK
        }
        // Safe because OpenSSL ended the name with a NUL, and refused one with another in it.
        // Not an error without: RFC 6066 3 leaves it to the client to judge the certificate it gets.
        guard let chosen = certificates.first(where: { unsafe $0.isFor(name) }) else {
            return SSL_TLSEXT_ERR_NOACK
        }
        if chosen !== certificates[0] { unsafe SSL_set_SSL_CTX(session, chosen.context.pointer) }
        return SSL_TLSEXT_ERR_OK
    }
}
