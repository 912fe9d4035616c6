import CCrypt
import Glibc

/// A hash of crypt(5), verified by libxcrypt's `crypt_rn(3)`.
struct CryptHash: Sendable {
    /// As libxcrypt writes it: method, parameters, salt, hash.
    private let text: [UInt8]
    let cost: UInt64

    /// The methods taken, with how many characters of `./0-9A-Za-z` the hash ends with after the
    /// last `$` (bcrypt: salt and hash).
    private static let methods: [(prefix: String, hashCount: Int)] = [
        ("$y$", 43), ("$gy$", 43), ("$7$", 43), ("$2b$", 53), ("$2a$", 53), ("$2y$", 53),
        ("$6$", 86), ("$5$", 43), ("$sha1$", 28), ("$1$", 22),
    ]

    init(_ hash: Substring) throws(PasswordHash.Failure) {
        let fields = hash.split(separator: "$", omittingEmptySubsequences: false)
        guard fields.count >= 3, fields[0].isEmpty else { throw .unknownScheme(nil) }
        let name = "$\(fields[1])$"
        guard let method = Self.methods.first(where: { $0.prefix == name }) else {
            throw .unknownScheme(PasswordHash.foreignScheme(name))
        }
        // A hash that was cut off matches nothing, and its user would never learn why.
        guard let last = fields.last, last.utf8.count == method.hashCount,
            hash.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
            last.utf8.allSatisfy({ Self.value(of: $0) != nil }),
            let cost = Self.cost(name, fields.dropFirst(2)),
            Self.isAccepted(String(hash))
        else { throw .malformed(scheme: name) }
        text = Array(hash.utf8)
        self.cost = cost
    }

    /// False for passwords that are too long for libxcrypt (511 octets), too.
    func matches(_ password: Password) -> Bool {
        guard let computed = Self.crypt(password, setting: text) else { return false }
        return areEqual(computed, text)
    }

    /// A new hash of `password`, salted by the system; `cost` as `crypt_gensalt(3)` takes it.
    static func make(
        _ password: Password, prefix: String, cost: UInt
    ) throws(PasswordHash.Failure) -> String {
        var salt = [CChar](repeating: 0, count: Int(CRYPT_GENSALT_OUTPUT_SIZE))
        let isSalted = unsafe salt.withUnsafeMutableBufferPointer { buffer in
            // Safe because the buffer is as long as its count says; nil has libxcrypt ask the
            // system for random octets.
            unsafe crypt_gensalt_rn(prefix, cost, nil, 0, buffer.baseAddress, Int32(buffer.count))
                != nil
        }
        guard isSalted else { throw .notMade(errno) }
        let setting = salt.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        guard let hash = crypt(password, setting: setting) else { throw .notMade(errno) }
        return String(decoding: hash, as: UTF8.self)
    }

    private static func crypt(_ password: Password, setting: [UInt8]) -> [UInt8]? {
        let size = Int(elemta_crypt_data_size)
        let work = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        defer {
            // What stays in it would help whoever reads freed memory.
            unsafe explicit_bzero(work, size)
            unsafe work.deallocate()
        }
        // crypt(3) wants all of it zero before its first use.
        unsafe work.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        let setting = (setting + [0]).map { CChar(bitPattern: $0) }
        return unsafe password.octets.withCString { phrase in
            // Safe because both strings end with NUL and `work` is as long as it says; the result,
            // which also ends with one, lies in `work` and is copied.
            guard let hash = unsafe crypt_rn(phrase, setting, work, Int32(size))
            else { return nil }
            return unsafe Array(String(cString: hash).utf8)
        }
    }

    private static func isAccepted(_ setting: String) -> Bool {
        let answer = unsafe crypt_checksalt(setting)
        return answer == CRYPT_SALT_OK || answer == CRYPT_SALT_METHOD_LEGACY
    }

    /// Nanoseconds, measured on one machine: what counts is which of two hashes takes longer. Nil
    /// when the parameters aren't there.
    private static func cost(_ method: String, _ fields: ArraySlice<Substring>) -> UInt64? {
        guard let first = fields.first else { return nil }
        switch method {
        case "$y$", "$gy$":
            // Flags, log2(N) - 1, r - 1, each a digit of `./0-9A-Za-z`; time is in N * r.
            let digits = Array(first.utf8)
            guard digits.count >= 3, let n = value(of: digits[1]), let r = value(of: digits[2])
            else { return nil }
            return scaled(150 * UInt64(r + 1), by: n + 1)
        case "$7$":
            // log2(N), then r in five digits, the lowest first.
            let digits = Array(first.utf8)
            guard digits.count >= 6, let n = value(of: digits[0]), let r = value(of: digits[1])
            else { return nil }
            return scaled(390 * UInt64(max(r, 1)), by: n)
        case "$2a$", "$2b$", "$2y$":
            guard let rounds = Int(first), (4...31).contains(rounds) else { return nil }
            return scaled(49_000, by: rounds)
        case "$5$", "$6$":
            guard first.hasPrefix("rounds=") else { return 1_200_000 }
            return UInt64(first.dropFirst(7)).map { min($0, 999_999_999) * 250 }
        case "$sha1$": return UInt64(first).map { min($0, UInt64(UInt32.max)) * 540 }
        default: return 120_000
        }
    }

    /// `nanoseconds` times two to the power of `exponent`, as far as the type goes.
    private static func scaled(_ nanoseconds: UInt64, by exponent: Int) -> UInt64 {
        exponent < 40 ? nanoseconds << UInt64(exponent) : .max
    }

    /// What a digit of crypt(5) stands for.
    private static func value(of digit: UInt8) -> Int? {
        switch digit {
        case UInt8(ascii: "."), UInt8(ascii: "/"): Int(digit - UInt8(ascii: "."))
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(digit - UInt8(ascii: "0")) + 2
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(digit - UInt8(ascii: "A")) + 12
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(digit - UInt8(ascii: "a")) + 38
        default: nil
        }
    }
}
