public import ElemtaReactor
public import ElemtaSMTP

/// What `delivery.*` and `queue.max_workers` of the configuration come to.
public struct DeliverySettings: Sendable {
    /// Our own name; where `<Postmaster>` without a domain is.
    public var hostname: Domain
    /// The argument of EHLO.
    public var heloName: String
    /// First match wins.
    public var routes: [DeliveryRoute] = []
    /// For what no route matches; nil: the mail exchangers of the domain.
    public var relayHost: RemoteServer?
    public var relayTLS = ClientTLSPolicy.opportunistic
    /// Nil: the relay host takes our mail as it is.
    public var relayLogin: ClientLogin?
    /// Whose certificates servers are verified by.
    public var authorities = TLSClientContext.Authorities.system
    /// Worker threads, at least 1.
    public var maximumWorkers = 5
    /// Connections of all workers together.
    public var maximumConnections = 2_000
    /// Ceiling of a destination's window.
    public var maximumConnectionsPerDestination = 20
    /// How many messages domains are sent; the first match counts, for each domain by itself.
    public var rates: [(domains: DeliveryRoute.Pattern, limit: RateLimit)] = []
    /// How long a kept connection waits for more mail.
    public var idleConnection = Duration.seconds(5)
    public var messagesPerConnection = 100
    public var connectTimeout = Duration.seconds(30)
    /// Source addresses; the first of a family is used for it.
    public var sourceAddresses: [IPAddress] = []
    /// Where this server itself takes mail: a mail exchanger there is no next hop. Address 0: all
    /// addresses of the machine.
    public var listeningAddresses: [SocketAddress] = []
    /// `192.0.2.1:53`; empty: the system's.
    public var dnsServers: [String] = []
    public var timeouts = DeliveryTimeouts()

    public init(hostname: Domain, heloName: String? = nil) {
        self.hostname = hostname
        self.heloName = heloName ?? hostname.description
    }
}

extension DeliverySettings {
    /// What a domain may be sent; nil: as much as there is. Address literals have no limit.
    func rate(for domain: Domain) -> RateLimit? {
        guard domain.addressLiteral == nil else { return nil }
        return rates.first { $0.domains.matches(domain) }?.limit
    }
}

/// So many messages in any stretch of time of this length.
public struct RateLimit: Hashable, Sendable {
    public let count: Int
    public let period: Duration

    public init(count: Int, period: Duration) {
        self.count = max(1, count)
        self.period = period
    }
}

/// How long a server may take for one reply (RFC 5321 4.5.3.2). Counted from the command, or from
/// the reply before it under PIPELINING; octets of an unfinished reply gain nothing.
public struct DeliveryTimeouts: Sendable {
    /// RFC 5321 4.5.3.2.1.
    public var greeting = Duration.seconds(300)
    /// EHLO, HELO, STARTTLS, AUTH, MAIL, RSET: RFC 5321 4.5.3.2.2.
    public var mail = Duration.seconds(300)
    /// For the whole of a TLS handshake, which is a matter of two round trips.
    public var handshake = Duration.seconds(30)
    /// RFC 5321 4.5.3.2.3.
    public var recipient = Duration.seconds(300)
    /// RFC 5321 4.5.3.2.4.
    public var data = Duration.seconds(120)
    /// For each `progress` octets of content that the server takes: RFC 5321 4.5.3.2.5.
    public var block = Duration.seconds(180)
    /// RFC 5321 4.5.3.2.6.
    public var endOfData = Duration.seconds(600)

    /// How long a server may be silent before it is ready for mail, if others wait for its place: when
    /// nothing is known about it, and when it was silent the first time.
    var firstLook = Duration.milliseconds(150)
    var secondLook = Duration.seconds(10)
    /// The same for a reply to MAIL, RCPT or DATA.
    var stall = Duration.seconds(30)
    /// How long a destination none of whose servers has greeted has one connection, before another is
    /// tried beside it.
    var trial = Duration.seconds(5)

    public init() {}

    /// A server that takes fewer octets than this within `block` makes no progress.
    static let progress = 64 * 1024

    func limit(for stage: ClientStage) -> Duration? {
        switch stage {
        case .greeting: greeting
        case .hello, .startTLS, .login, .mail: mail
        case .handshake: handshake
        case .recipient: recipient
        case .data: data
        case .content: block
        case .endOfData: endOfData
        case .idle, .quit, .closed: nil
        }
    }
}
