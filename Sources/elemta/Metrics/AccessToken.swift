import ElemtaConfiguration

/// Why the token of the HTTP endpoint is of no use. Never says what it is.
enum AccessTokenError: Error, CustomStringConvertible {
    case file(SecretFileError)
    /// No client could send it in a field (RFC 6750 2.1).
    case impossible

    var description: String {
        switch self {
        case .file(let error): "http.token_file: \(error)"
        case .impossible:
            "http.token_file: found spaces, controls or other than ASCII; "
                + "allowed: one word, such as `openssl rand -hex 32` prints"
        }
    }
}

/// The bearer token that `/metrics` wants (RFC 6750).
struct AccessToken {
    private let secret: Secret

    /// Nil where none is configured.
    init?(_ source: SecretSource) throws(AccessTokenError) {
        let secret: Secret?
        do throws(SecretFileError) {
            secret = try source.read()
        } catch {
            throw .file(error)
        }
        guard let secret else { return nil }
        guard secret.revealed.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw .impossible
        }
        self.secret = secret
    }

    init(_ secret: Secret) {
        self.secret = secret
    }

    /// Whether the value of an `Authorization` field shows the token. Takes as long however much of it
    /// is right.
    func isShown(by authorization: String?) -> Bool {
        let scheme = "bearer "
        guard let authorization, authorization.utf8.count >= scheme.utf8.count,
            authorization.prefix(scheme.count).lowercased() == scheme
        else { return false }
        let shown = Array(authorization.utf8.dropFirst(scheme.utf8.count))
        let wanted = Array(secret.revealed.utf8)
        var difference = UInt(bitPattern: shown.count ^ wanted.count)
        for index in wanted.indices {
            let octet = index < shown.count ? shown[index] : 0
            difference |= UInt(octet ^ wanted[index])
        }
        return difference == 0
    }
}
