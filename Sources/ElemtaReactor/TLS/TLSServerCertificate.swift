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

/// A certificate with its chain and its private key, loaded and ready for sessions, and what they
/// agree to. Never changes; contexts and threads may share it.
///
/// Ciphers and curves are those of Mozilla's "intermediate" configuration 5.7. The client's order is
/// followed, as it knows whether it has AES in hardware.
@safe public final class TLSServerCertificate: @unchecked Sendable {
    public let files: TLSCertificateFiles
    /// Seconds since 1970, UTC; sooner than that clients refuse it.
    public let notBefore: Int64
    /// Seconds since 1970, UTC; later than that clients refuse it.
    public let notAfter: Int64

    let context: SSLContext
    // The context uses them without owning them.
    private let ticketKeys: TLSTicketKeys

    private static let ciphers = """
        ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
        ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
        ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
        DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305
        """
    private static let groups = "X25519:P-256:P-384"

    /// Reads both files. Certificates that share `ticketKeys` resume each other's sessions: give the
    /// same ones again when reloading.
    ///
    /// Throws what names the file at fault. An expired certificate is no error: look at
    /// ``notBefore`` and ``notAfter``.
    public init(
        _ files: TLSCertificateFiles, minimum: TLSVersion = .v12, ticketKeys: TLSTicketKeys
    ) throws(TLSContextError) {
        let context = try SSLContext(.server, minimum: minimum)
        try Self.configure(context, ticketKeys)
        try context.use(files)
        self.files = files
        self.context = context
        self.ticketKeys = ticketKeys
        // Safe because the certificate is the context's, which lives as long as this object.
        let certificate = unsafe context.certificate
        notBefore = unsafe Self.seconds(X509_get0_notBefore(certificate))
        notAfter = unsafe Self.seconds(X509_get0_notAfter(certificate))
    }

    /// Whether the certificate is one of the host called `name`, which ends with a NUL.
    @unsafe func isFor(_ name: UnsafePointer<CChar>) -> Bool {
        let flags = UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
        return unsafe X509_check_host(context.certificate, name, 0, flags, nil) == 1
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
        unsafe TLSServerContext.installNameCallback(in: pointer)
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

    @unsafe private static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var parts = unsafe tm()
        guard unsafe ASN1_TIME_to_tm(time, &parts) == 1 else { return 0 }
        return unsafe Int64(timegm(&parts))
    }
}
