/// What a client asks of TLS before it hands a message over.
public enum ClientTLSPolicy: Hashable, Sendable {
    /// STARTTLS is never said.
    case off
    /// STARTTLS where it is offered, whoever the server turns out to be (RFC 7435).
    case opportunistic
    /// Only to a server that shows who it is.
    case required
    /// As `required`, for messages that came with REQUIRETLS (RFC 8689 4.2.1): nobody can have forged
    /// the server's name, and inside TLS the server offers REQUIRETLS.
    case requireTLS
}

/// What a server's certificate says about who the server is.
public enum PeerIdentity: Hashable, Sendable {
    /// Nothing: it is no certificate that we trust, or it bears another name.
    case unverified
    /// It bears the name that DNS gave. Whoever can forge the answers of DNS can have it bear his.
    case verified
    /// It bears a name that didn't come from DNS: the configuration's, or the mail domain itself.
    case authenticated
}

/// What became of a handshake.
public enum HandshakeOutcome: Hashable, Sendable {
    case established(PeerIdentity)
    /// It failed: why, in the words of the library.
    case failed(String)
    /// Octets had come in clear behind the reply to STARTTLS (CVE-2011-0411).
    case octetsWaiting
}

/// Why a connection isn't as secure as it has to be.
public enum TLSFailure: Hashable, Sendable {
    /// No STARTTLS in the reply to EHLO.
    case notOffered
    /// STARTTLS was refused.
    case refused(RemoteReply)
    /// Octets came in clear behind the reply to STARTTLS: somebody may have put them there.
    case octetsInClear
    /// The handshake failed, among other things because of the certificate.
    case handshake(String)
    /// The certificate doesn't show who the server is.
    case unverified
    /// Nonsense, silence or the connection's end, between STARTTLS and the reply to the EHLO inside
    /// TLS.
    indirect case interrupted(ClientFailure)
    /// No REQUIRETLS in the reply to the EHLO inside TLS.
    case requireTLSNotOffered

    /// Whether the same can be expected of another attempt.
    var isLasting: Bool {
        switch self {
        case .notOffered, .handshake, .unverified, .requireTLSNotOffered: true
        case .refused(let reply): reply.isPermanent
        case .octetsInClear, .interrupted: false
        }
    }

    /// Whether a client that wants any encryption rather than none, and none rather than no
    /// delivery, may try the server again in clear. Not where there are signs of an attack.
    public var allowsClear: Bool {
        switch self {
        case .refused, .handshake, .interrupted: true
        case .notOffered, .octetsInClear, .unverified, .requireTLSNotOffered: false
        }
    }
}

/// How a connection is protected.
enum ClientChannel: Hashable, Sendable {
    case clear
    case tls(PeerIdentity)

    /// REQUIRETLS may be said here (RFC 8689 2), provided that the server offers it.
    var isAuthenticated: Bool { self == .tls(.authenticated) }
}
