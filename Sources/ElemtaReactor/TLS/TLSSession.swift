import COpenSSL

/// The owner of one `SSL` (OpenSSL: `SSL_new`, freed by `SSL_free`) until a filter takes it over.
@safe struct TLSSession: ~Copyable {
    // Safe because it belongs to this owner alone.
    let pointer: OpaquePointer

    /// Nil when `made` is: out of memory.
    @unsafe init?(_ made: OpaquePointer?) {
        guard let made = unsafe made else { return nil }
        unsafe pointer = made
    }

    deinit {
        unsafe SSL_free(pointer)
    }

    @unsafe consuming func release() -> OpaquePointer {
        let pointer = unsafe pointer
        discard self
        return unsafe pointer
    }

    /// Compares the peer's certificate with an IP address; false when `text` is none.
    func checkAddress(_ text: String) -> Bool {
        // Safe because the parameters are the session's own.
        let isAddress = unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(pointer), text) == 1
        if !isAddress { ERR_clear_error() }
        return isAddress
    }

    /// Asks for `name` and compares the peer's certificate with it; false when it can't be one.
    func checkName(_ name: String) -> Bool {
        unsafe SSL_set_hostflags(pointer, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        var octets = Array(name.utf8CString)
        // Safe because both calls copy the name.
        return unsafe octets.withUnsafeMutableBytes { octets in
            unsafe SSL_set1_host(pointer, octets.baseAddress) == 1
                && SSL_ctrl(
                    pointer, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name),
                    octets.baseAddress) == 1
        }
    }
}
