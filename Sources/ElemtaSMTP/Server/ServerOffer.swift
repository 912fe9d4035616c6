/// A SASL mechanism; the raw value is its name in EHLO.
public enum SASLMechanism: String, Sendable, CaseIterable {
    /// RFC 4616.
    case plain = "PLAIN"
    /// Never standardised; what every client knows besides.
    case login = "LOGIN"
}

/// When the sessions of a listener speak TLS.
public enum TLSMode: Sendable {
    /// Never: STARTTLS is answered 502.
    case off
    /// After STARTTLS (RFC 3207).
    case startTLS
    /// From the first octet on (RFC 8314 3.3).
    case implicit
}

/// What a listener offers beyond RFC 5321 and the extensions that it always has.
public struct ServerOffer: Sendable {
    public var tls = TLSMode.off
    /// REQUIRETLS (RFC 8689) inside TLS. False where messages can't be sent on that way.
    public var offersRequireTLS = true
    /// In the order in which EHLO names them. Empty: AUTH is answered 502.
    public var mechanisms: [SASLMechanism] = []
    /// AUTH is neither offered nor accepted in clear text.
    public var authenticationNeedsTLS = false
    /// Nobody sends without having logged in.
    public var authenticationIsRequired = false
    /// XDEBUG is offered, and addresses may ask for trouble (``DevelopmentTrouble``).
    public var isDevelopment = false

    public init() {}
}
