/// Who the other side of a session is.
public struct ClientIdentity: Hashable, Sendable {
    public var address: IPAddress
    /// 0 where it isn't known.
    public var port: UInt16
    /// It may say for whom it speaks (`limits.xclient_hosts`).
    public var mayUseXCLIENT: Bool

    public init(address: IPAddress, port: UInt16 = 0, mayUseXCLIENT: Bool = false) {
        self.address = address
        self.port = port
        self.mayUseXCLIENT = mayUseXCLIENT
    }
}

extension ClientIdentity: CustomStringConvertible {
    /// The address, with the port where it's known: `192.0.2.1:40000`, `[2001:db8::1]:40000`.
    public var description: String {
        if port == 0 { return "\(address)" }
        return address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
}

/// What a handshake has come to. An object, so that it costs a session without TLS one word; one
/// serves all the sessions that have the same.
public final class TLSSummary: Sendable {
    /// As OpenSSL names it: `TLSv1.3`.
    public let protocolName: String
    /// As OpenSSL names it: `TLS_AES_256_GCM_SHA384`.
    public let cipher: String

    public init(protocolName: String, cipher: String) {
        self.protocolName = protocolName
        self.cipher = cipher
    }
}

/// A user who has logged in.
public final class AuthenticatedUser: Sendable {
    public let name: String
    let maySend: @Sendable (ReversePath) -> Bool

    /// - Parameter maySend: whether the user may send from there (`allowed_senders`).
    public init(
        name: String, maySend: @escaping @Sendable (ReversePath) -> Bool = { _ in true }
    ) {
        self.name = name
        self.maySend = maySend
    }
}
