/// How a client logs in before its first message (RFC 4954).
public struct ClientLogin: Sendable {
    public let credentials: SASLCredentials
    /// The password may be sent without TLS.
    public let isAllowedInClear: Bool

    public init(_ credentials: SASLCredentials, isAllowedInClear: Bool = false) {
        self.credentials = credentials
        self.isAllowedInClear = isAllowedInClear
    }
}

extension SASLCredentials {
    /// What a client logs in with. Nil for what no mechanism can carry: an empty name or password,
    /// controls in the name, NUL in the password (RFC 4616 2).
    public convenience init?(user: String, password: [UInt8]) {
        self.init(user: user.utf8, message: password, password: password.indices)
    }

    fileprivate var secretOctets: [UInt8] {
        withPassword { octets in octets.indices.map { octets[$0] } }
    }
}

/// Why a client isn't logged in.
public enum LoginFailure: Hashable, Sendable {
    /// There is no TLS, and without it the password isn't sent.
    case needsTLS
    /// The server offers no mechanism of ours.
    case noMechanism
    /// The server doesn't take the credentials, or not now. Holds nothing of them.
    case refused(RemoteReply)
}

/// The dialogue of AUTH, from the command to its last reply.
struct LoginExchange: Sendable {
    enum Outcome {
        case send([UInt8])
        case accepted
        case failed(ClientFailure)
    }

    /// RFC 5321 4.5.3.1.4, CRLF included. RFC 4954 4 lets an AUTH command be longer, but not every
    /// server knows: a long response waits for its challenge.
    private static let maximumCommand = 512

    private let credentials: SASLCredentials
    let command: [UInt8]
    /// The responses to the challenges that are still to come, in base 64.
    private var responses: ArraySlice<[UInt8]>

    /// Nil when the server offers neither PLAIN nor LOGIN.
    init?(_ credentials: SASLCredentials, offered: Set<SASLMechanism>) {
        self.credentials = credentials
        if offered.contains(.plain) {
            let response = Self.plain(credentials)
            let atOnce = Array("AUTH PLAIN ".utf8) + response + Array("\r\n".utf8)
            let isShort = atOnce.count <= Self.maximumCommand
            command = isShort ? atOnce : Array("AUTH PLAIN\r\n".utf8)
            responses = isShort ? [] : [response]
        } else if offered.contains(.login) {
            command = Array("AUTH LOGIN\r\n".utf8)
            responses = Self.login(credentials)[...]
        } else {
            return nil
        }
    }

    /// RFC 4616 2: `[authzid] NUL authcid NUL passwd`.
    private static func plain(_ credentials: SASLCredentials) -> [UInt8] {
        Base64.encode([0] + Array(credentials.user.utf8) + [0] + credentials.secretOctets)
    }

    private static func login(_ credentials: SASLCredentials) -> [[UInt8]] {
        [Base64.encode(Array(credentials.user.utf8)), Base64.encode(credentials.secretOctets)]
    }

    mutating func receive(_ reply: RemoteReply) -> Outcome {
        switch reply.code {
        case 200...299:
            return .accepted
        case 334:
            guard let response = responses.popFirst() else {
                return .failed(.protocolError(.outOfSequence(reply.code), .login))
            }
            return .send(response + Array("\r\n".utf8))
        case 400...599:
            return .failed(.login(.refused(withoutSecrets(reply))))
        default:
            return .failed(.protocolError(.outOfSequence(reply.code), .login))
        }
    }

    /// Some servers quote the line that they don't understand, and what they say is logged.
    private func withoutSecrets(_ reply: RemoteReply) -> RemoteReply {
        let secrets =
            [credentials.secretOctets, Self.plain(credentials)] + Self.login(credentials)
        guard secrets.contains(where: { Self.hasPart(of: $0, in: reply.text) }) else {
            return reply
        }
        return RemoteReply(
            code: reply.code, enhanced: reply.enhanced,
            text: Array("(the server's words repeat what it was sent)".utf8))
    }

    /// So many octets in a row are a quotation.
    private static let quotation = 8

    private static func hasPart(of secret: [UInt8], in text: [UInt8]) -> Bool {
        guard secret.count > quotation else { return text.firstRange(of: secret) != nil }
        return (0...secret.count - quotation).contains { start in
            text.firstRange(of: secret[start..<start + quotation]) != nil
        }
    }
}
