import COpenSSL

/// The owner of one `SSL_CTX` (OpenSSL: `SSL_CTX_new`, freed by `SSL_CTX_free`; sessions made from
/// it have references of their own).
@safe final class SSLContext: @unchecked Sendable {
    // Safe because it is changed only before its first session is made; from then on OpenSSL locks
    // what sessions on several threads share.
    let pointer: OpaquePointer

    enum Role {
        case server
        case client
    }

    init(_ role: Role, minimum: TLSVersion) throws(TLSContextError) {
        let method =
            switch role {
            case .server: unsafe TLS_server_method()
            case .client: unsafe TLS_client_method()
            }
        guard let made = unsafe SSL_CTX_new(method) else {
            throw .openSSL(call: "SSL_CTX_new", reason: OpenSSLErrors.takeReason())
        }
        unsafe pointer = made
        // Renegotiation would let a peer have any number of handshakes (CVE-2011-1473), compression
        // would show secrets by their length (CRIME).
        unsafe SSL_CTX_set_options(
            pointer, elemta_SSL_OP_NO_COMPRESSION | elemta_SSL_OP_NO_RENEGOTIATION)
        // An idle session has no buffers then: 16 KiB instead of 50.
        try control(SSL_CTRL_MODE, Int(SSL_MODE_RELEASE_BUFFERS), "SSL_CTX_set_mode")
        try control(
            SSL_CTRL_SET_MIN_PROTO_VERSION, minimum.number, "SSL_CTX_set_min_proto_version")
    }

    deinit {
        unsafe SSL_CTX_free(pointer)
    }

    /// The certificate that was loaded; lent.
    @unsafe var certificate: OpaquePointer? { unsafe SSL_CTX_get0_certificate(pointer) }

    /// One of the many calls that are macros around `SSL_CTX_ctrl`.
    func control(_ command: Int32, _ value: Int, _ call: String) throws(TLSContextError) {
        // Zero is a failure or, for the modes, what there was before: none of ours is zero.
        guard unsafe SSL_CTX_ctrl(pointer, command, value, nil) != 0 else {
            throw .openSSL(call: call, reason: OpenSSLErrors.takeReason())
        }
    }

    func setCiphers(_ list: String) throws(TLSContextError) {
        guard unsafe SSL_CTX_set_cipher_list(pointer, list) == 1 else {
            throw .openSSL(call: "SSL_CTX_set_cipher_list", reason: OpenSSLErrors.takeReason())
        }
    }

    func setGroups(_ list: String) throws(TLSContextError) {
        var octets = Array(list.utf8CString)
        // Safe because the list is copied.
        let result = unsafe octets.withUnsafeMutableBytes {
            unsafe SSL_CTX_ctrl(pointer, SSL_CTRL_SET_GROUPS_LIST, 0, $0.baseAddress)
        }
        guard result == 1 else {
            throw .openSSL(call: "SSL_CTX_set1_groups_list", reason: OpenSSLErrors.takeReason())
        }
    }

    /// Loads a certificate with the chain behind it, and its private key.
    func use(_ files: TLSCertificateFiles) throws(TLSContextError) {
        let (certificateFile, keyFile) = (files.certificateFile, files.keyFile)
        ERR_clear_error()
        try TLSContextError.check(certificateFile)
        guard unsafe SSL_CTX_use_certificate_chain_file(pointer, certificateFile) == 1 else {
            throw .noCertificate(file: certificateFile, reason: OpenSSLErrors.takeReason())
        }
        try TLSContextError.check(keyFile)
        let (isLoaded, wasPassphraseAsked) = loadKey(keyFile)
        let code = Int32(truncatingIfNeeded: ERR_peek_error() & UInt(ERR_REASON_MASK))
        let reason = OpenSSLErrors.takeReason()
        if wasPassphraseAsked { throw .encryptedKey(file: keyFile) }
        guard isLoaded else {
            if code == X509_R_KEY_VALUES_MISMATCH || code == X509_R_KEY_TYPE_MISMATCH {
                throw .mismatch(keyFile: keyFile, certificateFile: certificateFile)
            }
            throw .noKey(file: keyFile, reason: reason)
        }
        guard unsafe SSL_CTX_check_private_key(pointer) == 1 else {
            ERR_clear_error()
            throw .mismatch(keyFile: keyFile, certificateFile: certificateFile)
        }
    }

    /// Answers the question for a passphrase itself: OpenSSL would ask on the terminal.
    private func loadKey(_ file: String) -> (isLoaded: Bool, wasPassphraseAsked: Bool) {
        var wasAsked = false
        // Safe because the callback runs inside the second call only, while `asked` is lent.
        let result = unsafe withUnsafeMutablePointer(to: &wasAsked) { asked in
            unsafe SSL_CTX_set_default_passwd_cb(pointer) { _, _, _, asked in
                unsafe asked?.assumingMemoryBound(to: Bool.self).pointee = true
                return -1
            }
            unsafe SSL_CTX_set_default_passwd_cb_userdata(pointer, asked)
            defer { unsafe SSL_CTX_set_default_passwd_cb_userdata(pointer, nil) }
            return unsafe SSL_CTX_use_PrivateKey_file(pointer, file, SSL_FILETYPE_PEM)
        }
        return (result == 1, wasAsked)
    }
}
