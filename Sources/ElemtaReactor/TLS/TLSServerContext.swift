import COpenSSL
import Glibc

/// Where a certificate with its chain, and its private key, are: two PEM files.
public struct TLSCertificateFiles: Hashable, Sendable {
    /// The server's own certificate first, then those that lead to an authority.
    public let certificateFile: String
    public let keyFile: String

    public init(certificateFile: String, keyFile: String) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
    }
}

/// What a server's TLS sessions have in common: certificates, chosen by the name the client asks for
/// (SNI, RFC 6066 3), and what is agreed to.
///
/// Never changes. To reload make a new one and use it from then on; sessions that live keep theirs.
/// Ciphers and curves are those of Mozilla's "intermediate" configuration 5.7. The client's order is
/// followed, as it knows whether it has AES in hardware.
@safe public final class TLSServerContext: @unchecked Sendable {
    /// What is to be known about a certificate in use.
    public struct Certificate: Hashable, Sendable {
        public let files: TLSCertificateFiles
        /// Seconds since 1970, UTC.
        public let notBefore: Int64
        /// Seconds since 1970, UTC; later than that clients refuse it.
        public let notAfter: Int64
    }

    /// In the order in which they were given.
    public let certificates: [Certificate]
    // One for each certificate; sessions begin in the first.
    private let contexts: [SSLContext]
    private let ticketKeys: TLSTicketKeys

    private static let ciphers = """
        ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
        ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
        ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
        DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305
        """
    private static let groups = "X25519:P-256:P-384"

    /// Loads the pairs of `files`, of which there is at least one; the first is for clients that
    /// ask for no name or for one that no certificate has. Contexts that share `ticketKeys` resume
    /// each other's sessions: give the same ones again when reloading.
    ///
    /// Throws what names the file at fault. An expired certificate is no error: look at
    /// ``certificates``.
    public init(
        _ files: [TLSCertificateFiles], minimum: TLSVersion = .v12,
        ticketKeys: TLSTicketKeys = TLSTicketKeys()
    ) throws(TLSContextError) {
        precondition(!files.isEmpty, "a server context without a certificate")
        var contexts: [SSLContext] = []
        var certificates: [Certificate] = []
        for pair in files {
            let context = try SSLContext(.server, minimum: minimum)
            try Self.configure(context, ticketKeys)
            try context.use(pair)
            certificates.append(Self.describe(context, pair))
            contexts.append(context)
        }
        self.contexts = contexts
        self.certificates = certificates
        self.ticketKeys = ticketKeys
        // Safe because a connection keeps this object as long as its session can ask.
        let argument = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe elemta_SSL_CTX_set_servername(
            contexts[0].pointer,
            { session, _, argument in
                guard let session = unsafe session, let argument = unsafe argument else {
                    return SSL_TLSEXT_ERR_NOACK
                }
                let context = unsafe Unmanaged<TLSServerContext>.fromOpaque(argument)
                    .takeUnretainedValue()
                return unsafe context.chooseCertificate(for: session)
            }, argument)
    }

    /// A session that waits for a client's first octets.
    func makeSession() -> TLSSession? {
        unsafe TLSSession(SSL_new(contexts[0].pointer))
    }

    private static func configure(
        _ context: SSLContext, _ ticketKeys: TLSTicketKeys
    ) throws(TLSContextError) {
        try context.setCiphers(ciphers)
        try context.setGroups(groups)
        try setFiniteFieldGroup(of: context)
        // Sessions are the clients' to keep, in tickets (RFC 5077): here they would cost memory.
        let pointer = unsafe context.pointer
        unsafe SSL_CTX_ctrl(pointer, SSL_CTRL_SET_SESS_CACHE_MODE, Int(SSL_SESS_CACHE_OFF), nil)
        unsafe SSL_CTX_set_num_tickets(pointer, 1)
        // The same for all, so that a session begun with one certificate may go on with another.
        let name = Array("elemta".utf8)
        unsafe SSL_CTX_set_session_id_context(pointer, name, UInt32(name.count))
        unsafe ticketKeys.install(in: pointer)
    }

    /// 2,048 bits (RFC 7919), as Mozilla's configuration has it; OpenSSL would choose a bigger and
    /// so a much slower group for a bigger certificate.
    private static func setFiniteFieldGroup(of context: SSLContext) throws(TLSContextError) {
        // Safe because each pointer is checked, and freed or given to the context, here.
        let generator = unsafe EVP_PKEY_CTX_new_from_name(nil, "DH", nil)
        defer { unsafe EVP_PKEY_CTX_free(generator) }
        var key: OpaquePointer?
        guard unsafe EVP_PKEY_keygen_init(generator) == 1,
            unsafe EVP_PKEY_CTX_set_group_name(generator, "ffdhe2048") == 1,
            unsafe EVP_PKEY_generate(generator, &key) == 1,
            unsafe SSL_CTX_set0_tmp_dh_pkey(context.pointer, key) == 1
        else {
            unsafe EVP_PKEY_free(key)
            let reason = OpenSSLErrors.takeReason()
            throw .openSSL(call: "SSL_CTX_set0_tmp_dh_pkey", reason: reason)
        }
    }

    private static func describe(_ context: SSLContext, _ files: TLSCertificateFiles) -> Certificate
    {
        // Safe because the certificate is the context's, which lives as long as this call.
        let certificate = unsafe context.certificate
        return unsafe Certificate(
            files: files, notBefore: seconds(X509_get0_notBefore(certificate)),
            notAfter: seconds(X509_get0_notAfter(certificate)))
    }

    @unsafe private static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var parts = unsafe tm()
        guard unsafe ASN1_TIME_to_tm(time, &parts) == 1 else { return 0 }
        return unsafe Int64(timegm(&parts))
    }

    /// Runs while the client's first message is read; a few microseconds for each certificate.
    @unsafe private func chooseCertificate(for session: OpaquePointer) -> Int32 {
        guard let name = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) else {
            return SSL_TLSEXT_ERR_NOACK
        }
        let flags = UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
        // Safe because OpenSSL ended the name with a NUL, and refused one with another in it.
        let chosen = contexts.first { context in
            unsafe X509_check_host(context.certificate, name, 0, flags, nil) == 1
        }
        // Not an error: RFC 6066 3 leaves it to the client to judge the certificate it gets.
        guard let chosen else { return SSL_TLSEXT_ERR_NOACK }
        if chosen !== contexts[0] { unsafe SSL_set_SSL_CTX(session, chosen.pointer) }
        return SSL_TLSEXT_ERR_OK
    }
}
