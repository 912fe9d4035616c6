import COpenSSL

/// The digests of OpenSSL's libcrypto that users files name.
enum Digest: Sendable {
    case sha1, sha256, sha512

    /// Octets of the result.
    var count: Int {
        switch self {
        case .sha1: 20
        case .sha256: 32
        case .sha512: 64
        }
    }

    /// `EVP_Digest(3)`. Empty, which equals no digest, if OpenSSL can't.
    func of(_ octets: SecretOctets) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: count)
        var written: UInt32 = 0
        let code = unsafe digest.withUnsafeMutableBufferPointer { digest in
            unsafe octets.withUnsafeBytes { octets in
                // Safe because the result has room for what this digest writes.
                unsafe EVP_Digest(
                    octets.baseAddress, octets.count, digest.baseAddress, &written, type, nil)
            }
        }
        return code == 1 && Int(written) == count ? digest : []
    }

    private var type: OpaquePointer? {
        switch self {
        case .sha1: unsafe EVP_sha1()
        case .sha256: unsafe EVP_sha256()
        case .sha512: unsafe EVP_sha512()
        }
    }
}

/// A digest of password and salt, as LDAP servers write it (RFC 2307, for the salted ones
/// OpenLDAP).
struct DigestHash: Sendable {
    enum Scheme: String {
        case sha = "SHA"
        case sha256 = "SHA256"
        case sha512 = "SHA512"
        case saltedSHA = "SSHA"
        case saltedSHA256 = "SSHA256"
        case saltedSHA512 = "SSHA512"

        var digest: Digest {
            switch self {
            case .sha, .saltedSHA: .sha1
            case .sha256, .saltedSHA256: .sha256
            case .sha512, .saltedSHA512: .sha512
            }
        }

        var isSalted: Bool {
            switch self {
            case .sha, .sha256, .sha512: false
            case .saltedSHA, .saltedSHA256, .saltedSHA512: true
            }
        }
    }

    private let digest: Digest
    private let expected: [UInt8]
    private let salt: [UInt8]

    /// Nil when `text` isn't the base64 of a digest, followed by a salt if the scheme has one.
    init?(_ scheme: Scheme, base64 text: some Collection<UInt8>) {
        guard let octets = decodedBase64(text) else { return nil }
        let surplus = octets.count - scheme.digest.count
        guard scheme.isSalted ? surplus > 0 : surplus == 0 else { return nil }
        digest = scheme.digest
        expected = Array(octets.prefix(scheme.digest.count))
        salt = Array(octets.dropFirst(scheme.digest.count))
    }

    func matches(_ password: Password) -> Bool {
        areEqual(digest.of(SecretOctets(password.octets, salt)), expected)
    }
}

/// RFC 4648 4, with or without its padding; nil for anything else.
func decodedBase64(_ text: some Collection<UInt8>) -> [UInt8]? {
    var octets: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    let padding = text.reversed().prefix(2).prefix { $0 == UInt8(ascii: "=") }.count
    if padding > 0, text.count % 4 != 0 { return nil }
    for character in text.dropLast(padding) {
        guard let value = base64Value(of: character) else { return nil }
        bits = bits << 6 | UInt32(value)
        count += 1
        if count % 4 == 0 {
            octets += [16, 8, 0].map { UInt8(truncatingIfNeeded: bits >> $0) }
        }
    }
    switch count % 4 {
    case 0: break
    case 2: octets.append(UInt8(truncatingIfNeeded: bits >> 4))
    case 3: octets += [10, 2].map { UInt8(truncatingIfNeeded: bits >> $0) }
    default: return nil
    }
    return octets
}

private func base64Value(of character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
}
