import COpenSSL
import Glibc
import Synchronization

/// The keys that session tickets are sealed with (RFC 5077 4): made anew after every period, and the
/// ones before kept for one more, so that a stolen key opens what two periods sent and no more.
///
/// May be shared by contexts and by threads.
@safe public final class TLSTicketKeys: @unchecked Sendable {
    // Safe because all that changes is behind the mutex.
    private let state: Mutex<State>
    /// How long a key seals tickets, which are good for as long.
    public let period: Duration

    private struct State {
        var current: TicketKey?
        var previous: TicketKey?
        /// When `current` was made.
        var since: MonotonicTime
    }

    public init(period: Duration = .seconds(6 * 3600)) {
        self.period = period
        state = Mutex(State(current: TicketKey(), previous: nil, since: .now))
    }

    /// Makes a new key now, whatever the time; called twice it makes every ticket worthless.
    public func rotate() {
        state.withLock { Self.rotate(&$0, at: .now) }
    }

    private static func rotate(_ state: inout State, at now: MonotonicTime) {
        state.previous = state.current
        state.current = TicketKey()
        state.since = now
    }

    private func rotateIfDue(_ state: inout State) {
        let now = MonotonicTime.now
        guard now - state.since >= period else { return }
        // Nobody asked for a whole period: what was current is older than a previous key may be.
        if now - state.since >= period + period { state.current = nil }
        Self.rotate(&state, at: now)
    }

    /// Makes `context` (an `SSL_CTX`) use these keys; this object must outlive its sessions.
    @unsafe func install(in context: OpaquePointer) {
        let lifetime = Int(clamping: max(1, period.components.seconds))
        unsafe SSL_CTX_set_timeout(context, lifetime)
        // Index 0 is the application's own (`SSL_CTX_set_app_data`).
        unsafe SSL_CTX_set_ex_data(context, 0, Unmanaged.passUnretained(self).toOpaque())
        unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context) {
            session, name, vector, cipher, mac, isSealing in
            guard let keys = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(session), 0),
                let name = unsafe name, let vector = unsafe vector
            else { return -1 }
            let ticketKeys = unsafe Unmanaged<TLSTicketKeys>.fromOpaque(keys).takeUnretainedValue()
            // Safe because OpenSSL lends 16 octets for the name and 16 for the vector.
            let lent = unsafe UnsafeMutableBufferPointer(start: name, count: TicketKey.nameCount)
            return unsafe isSealing == 1
                ? ticketKeys.seal(name: lent, vector: vector, cipher, mac)
                : ticketKeys.open(name: lent, vector: vector, cipher, mac)
        }
    }

    /// Returns what the callback must: 1, or -1 when it can't be done.
    @unsafe private func seal(
        name: UnsafeMutableBufferPointer<UInt8>, vector: UnsafeMutablePointer<UInt8>,
        _ cipher: OpaquePointer?, _ mac: OpaquePointer?
    ) -> Int32 {
        state.withLock { state in
            rotateIfDue(&state)
            guard let key = state.current, unsafe RAND_bytes(vector, EVP_MAX_IV_LENGTH) == 1 else {
                return -1
            }
            unsafe key.copyName(to: name)
            return unsafe key.prepareToSeal(cipher, vector) && key.prepare(mac) ? 1 : -1
        }
    }

    /// Returns what the callback must: 1, 2 to have the ticket replaced, 0 for a ticket of a key
    /// that isn't there any more, which means a full handshake.
    @unsafe private func open(
        name: UnsafeMutableBufferPointer<UInt8>, vector: UnsafeMutablePointer<UInt8>,
        _ cipher: OpaquePointer?, _ mac: OpaquePointer?
    ) -> Int32 {
        state.withLock { state in
            rotateIfDue(&state)
            for (key, result) in [(state.current, Int32(1)), (state.previous, 2)] {
                guard let key, unsafe key.isNamed(name) else { continue }
                return unsafe key.prepareToOpen(cipher, vector) && key.prepare(mac) ? result : -1
            }
            return 0
        }
    }
}

/// One key: 16 octets of name, 32 for AES-256-CBC, 32 for HMAC-SHA-256.
@safe private final class TicketKey: @unchecked Sendable {
    // Safe because nobody writes to them between `init` and `deinit`.
    private let octets: UnsafeMutableBufferPointer<UInt8>

    static let nameCount = 16
    private static let keyCount = 32
    private static let count = nameCount + 2 * keyCount

    /// Nil when there are no random octets to be had.
    init?() {
        unsafe octets = .allocate(capacity: Self.count)
        guard unsafe RAND_bytes(octets.baseAddress, Int32(Self.count)) == 1 else { return nil }
    }

    deinit {
        // A key that is gone must not be found in a core dump.
        unsafe OPENSSL_cleanse(octets.baseAddress, Self.count)
        unsafe octets.deallocate()
    }

    @unsafe func copyName(to name: UnsafeMutableBufferPointer<UInt8>) {
        for index in 0..<Self.nameCount { unsafe name[index] = unsafe octets[index] }
    }

    @unsafe func isNamed(_ name: UnsafeMutableBufferPointer<UInt8>) -> Bool {
        unsafe name.elementsEqual(octets.prefix(Self.nameCount))
    }

    @unsafe private func key(_ index: Int) -> UnsafeMutablePointer<UInt8>? {
        unsafe octets.baseAddress.map { unsafe $0 + Self.nameCount + index * Self.keyCount }
    }

    @unsafe func prepareToSeal(
        _ cipher: OpaquePointer?, _ vector: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        unsafe EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key(0), vector) == 1
    }

    @unsafe func prepareToOpen(
        _ cipher: OpaquePointer?, _ vector: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        unsafe EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key(0), vector) == 1
    }

    @unsafe func prepare(_ mac: OpaquePointer?) -> Bool {
        let name = OSSL_MAC_PARAM_DIGEST.utf8CString
        var digest = "SHA256".utf8CString
        // Safe because the parameters, which point to both, are read inside the call.
        return unsafe name.withUnsafeBufferPointer { name in
            unsafe digest.withUnsafeMutableBufferPointer { digest in
                guard let name = name.baseAddress else { return false }
                let parameters = unsafe [
                    OSSL_PARAM_construct_utf8_string(name, digest.baseAddress, 0),
                    OSSL_PARAM_construct_end(),
                ]
                return unsafe EVP_MAC_init(mac, key(1), Self.keyCount, parameters) == 1
            }
        }
    }
}
