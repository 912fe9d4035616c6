import CLDAP
import Glibc

/// A connection to a directory: libldap's `LDAP`, made by `ldap_initialize(3)`, which connects at
/// the first operation, and freed by `ldap_unbind_ext_s(3)`.
///
/// One thread at a time. Its calls block, for the settings' timeout, or until `socket` is cut.
@safe final class LDAPConnection: @unchecked Sendable {
    // Safe because it is set once, freed in `deinit`, and only the thread that has taken the
    // connection out of the back end's idle ones uses it.
    private let handle: OpaquePointer
    private let timeout: timeval

    /// What libldap's connection runs on.
    let socket = LDAPSocket()
    // Safe because it is made in `init` and freed in `deinit`, after the handle that refers to it.
    private let callbacks: UnsafeMutablePointer<ldap_conncb>

    /// Where Debian and most others keep the system's authorities; libldap itself knows none unless
    /// somebody wrote an ldap.conf.
    private static let systemAuthorities = "/etc/ssl/certs/ca-certificates.crt"

    /// `LDAP_OPT_X_TLS_PROTOCOL_TLS1_2`, a macro that Swift doesn't import.
    private static let tls12: Int32 = (3 << 8) + 3

    /// Doesn't connect yet.
    init(_ settings: LDAPSettings) throws(LDAPError) {
        var made: OpaquePointer?
        let code = unsafe ldap_initialize(&made, settings.url)
        guard code == LDAP_SUCCESS, let handle = unsafe made else {
            throw LDAPError(operation: "ldap_initialize", code: code, detail: "")
        }
        unsafe self.handle = handle
        let seconds = max(1, settings.timeout.components.seconds)
        timeout = timeval(tv_sec: Int(seconds), tv_usec: 0)
        unsafe callbacks = .allocate(capacity: 1)
        // Safe because `self` owns the socket and outlives the handle, whose calls these are.
        unsafe callbacks.initialize(
            to: ldap_conncb(
                lc_add: { _, stream, _, _, callbacks in
                    var descriptor: Int32 = -1
                    unsafe ber_sockbuf_ctrl(stream, LBER_SB_OPT_GET_FD, &descriptor)
                    unsafe LDAPConnection.socket(of: callbacks)?.opened(descriptor)
                    return 0
                },
                lc_del: { _, _, callbacks in
                    unsafe LDAPConnection.socket(of: callbacks)?.closed()
                }, lc_arg: Unmanaged.passUnretained(socket).toOpaque()))
        try configure(settings)
    }

    deinit {
        unsafe ldap_unbind_ext_s(handle, nil, nil)
        unsafe callbacks.deallocate()
    }

    @unsafe private static func socket(
        of callbacks: UnsafeMutablePointer<ldap_conncb>?
    ) -> LDAPSocket? {
        // Safe because lc_arg is the socket that `init` put there.
        guard let argument = unsafe callbacks?.pointee.lc_arg else { return nil }
        return unsafe Unmanaged<LDAPSocket>.fromOpaque(argument).takeUnretainedValue()
    }

    private func configure(_ settings: LDAPSettings) throws(LDAPError) {
        try set(LDAP_OPT_PROTOCOL_VERSION, LDAP_VERSION3, "protocol version")
        try set(LDAP_OPT_NETWORK_TIMEOUT, timeout, "network timeout")
        try set(LDAP_OPT_TIMEOUT, timeout, "timeout")
        try check(
            unsafe ldap_set_option(handle, LDAP_OPT_CONNECT_CB, callbacks), "connection callbacks")
        // A referral would be followed anonymously: what it answers says nothing about a password.
        try check(unsafe ldap_set_option(handle, LDAP_OPT_REFERRALS, nil), "referrals")
        // All of these override /etc/ldap/ldap.conf, ~/.ldaprc and LDAPTLS_... of the environment.
        try set(LDAP_OPT_X_TLS_REQUIRE_CERT, LDAP_OPT_X_TLS_HARD, "certificate check")
        try set(LDAP_OPT_X_TLS_PROTOCOL_MIN, Self.tls12, "TLS version")
        let authorities = settings.caFile ?? Self.systemAuthorities
        if unsafe settings.caFile != nil || access(authorities, R_OK) == 0 {
            try check(
                unsafe ldap_set_option(handle, LDAP_OPT_X_TLS_CACERTFILE, authorities), "ca_file")
        }
        // Puts the TLS settings above into force, for this connection alone.
        try set(LDAP_OPT_X_TLS_NEWCTX, Int32(0), "TLS")
    }

    /// StartTLS (RFC 4511 4.14): connects, and fails unless the certificate is as it should be.
    func startTLS() throws(LDAPError) {
        try check(unsafe ldap_start_tls_s(handle, nil, nil), "StartTLS")
    }

    private func set(_ option: Int32, _ value: some BitwiseCopyable, _ name: String)
        throws(LDAPError)
    {
        var value = value
        // Safe because libldap copies the value, whose type is the one that this option takes.
        let code = unsafe withUnsafePointer(to: &value) {
            unsafe ldap_set_option(handle, option, $0)
        }
        try check(code, name)
    }

    /// Proves `password` to the directory: a simple bind (RFC 4513 5.1.3). Never with an empty one,
    /// nor for an empty name: both would be anonymous and succeed.
    func bind(as name: String, _ password: Password) throws(LDAPError) {
        guard !name.isEmpty, password.isPossible else {
            throw LDAPError(operation: "bind", code: LDAP_INVALID_CREDENTIALS, detail: "")
        }
        let code = unsafe password.octets.withCString { text in
            // Safe because libldap only reads the password, and no longer after the call.
            var value = unsafe berval(
                bv_len: UInt(password.octets.count), bv_val: UnsafeMutablePointer(mutating: text))
            return unsafe ldap_sasl_bind_s(handle, name, nil, &value, nil, nil, nil)
        }
        try check(code, "bind")
    }

    /// The names of the entries below `base` that `filter` fits: all of them, or two of more.
    func search(below base: String, _ filter: String) throws(LDAPError) -> [String] {
        var limit = timeout
        var result: OpaquePointer?
        // RFC 4511 4.5.1.8: 1.1 asks for no attributes.
        let code = unsafe withNoAttributes { attributes in
            unsafe ldap_search_ext_s(
                handle, base, LDAP_SCOPE_SUBTREE, filter, attributes, 0, nil, nil, &limit, 2,
                &result)
        }
        defer { unsafe ldap_msgfree(result) }
        // More than two fit: the two that came are enough to know it.
        if code != LDAP_SIZELIMIT_EXCEEDED { try check(code, "search") }
        var names: [String] = []
        var entry = unsafe ldap_first_entry(handle, result)
        while let current = unsafe entry {
            // Safe because ldap_get_dn returns a C string that is ours to free.
            guard let name = unsafe ldap_get_dn(handle, current) else {
                throw LDAPError(operation: "search", code: LDAP_DECODING_ERROR, detail: "")
            }
            unsafe names.append(String(cString: name))
            unsafe ldap_memfree(name)
            unsafe entry = unsafe ldap_next_entry(handle, current)
        }
        return names
    }

    private func withNoAttributes(
        _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32
    ) -> Int32 {
        var name = Array("1.1".utf8CString)
        return unsafe name.withUnsafeMutableBufferPointer { name in
            var list: [UnsafeMutablePointer<CChar>?] = unsafe [name.baseAddress, nil]
            // Safe because the list ends with nil and both outlive the call.
            return unsafe list.withUnsafeMutableBufferPointer { list in
                unsafe list.baseAddress.map { unsafe body($0) } ?? LDAP_PARAM_ERROR
            }
        }
    }

    private func check(_ code: Int32, _ operation: String) throws(LDAPError) {
        guard code != LDAP_SUCCESS else { return }
        throw LDAPError(operation: operation, code: code, detail: diagnostic())
    }

    /// What the directory or the TLS library said about the last failure.
    private func diagnostic() -> String {
        var text: UnsafeMutablePointer<CChar>?
        let code = unsafe ldap_get_option(handle, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text)
        guard code == LDAP_OPT_SUCCESS, let text = unsafe text else { return "" }
        // Safe because libldap hands out a C string that is ours to free.
        defer { unsafe ldap_memfree(text) }
        return unsafe String(cString: text)
    }
}

extension LDAPError {
    /// What the directory said about the credentials: they are wrong. Everything else says that it
    /// couldn't tell.
    var isRefusal: Bool {
        switch code {
        case LDAP_INVALID_CREDENTIALS, LDAP_INAPPROPRIATE_AUTH, LDAP_NO_SUCH_OBJECT,
            LDAP_INSUFFICIENT_ACCESS, LDAP_CONSTRAINT_VIOLATION:
            true
        default: false
        }
    }

    /// The directory hung up, which it may do with a connection that nothing was said on for a
    /// while.
    var isLostConnection: Bool { code == LDAP_SERVER_DOWN || code == LDAP_UNAVAILABLE }

    static func text(of code: Int32) -> String {
        // Safe because ldap_err2string returns constants.
        unsafe String(cString: ldap_err2string(code))
    }
}

/// Whether libldap understands every URL in `text`.
func areLDAPURLs(_ text: String) -> Bool {
    let urls = text.split(separator: " ")
    return !urls.isEmpty
        && urls.allSatisfy { url in
            var description: UnsafeMutablePointer<LDAPURLDesc>?
            guard unsafe ldap_url_parse(String(url), &description) == LDAP_URL_SUCCESS
            else { return false }
            unsafe ldap_free_urldesc(description)
            return true
        }
}
