import DequeModule
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// One address of one host of a destination.
struct DeliveryTarget: Hashable {
    let host: String
    let address: SocketAddress
    /// Of the host, among the destination's (RFC 5321 5.1).
    var preference: UInt16 = 0
    /// What is spoken with it.
    var mailProtocol = ClientProtocol.smtp

    /// `mx1.example.com [192.0.2.1]`, `[192.0.2.1]` where no name is known, `/run/dovecot/lmtp`; with
    /// the port, behind a colon, where it isn't that of SMTP.
    var description: String {
        if address.host == nil { return host }
        let name = host.hasPrefix("[") ? "" : "\(host) "
        let port = address.port == RemoteServer.smtpPort ? "" : ":\(address.port)"
        let literal =
            switch address.host {
            case .v4(let number): IPAddress(v4: number).addressLiteral
            case .v6(let high, let low): IPAddress(v6High: high, v6Low: low).addressLiteral
            case nil: "\(address)"
            }
        return name + literal + port
    }

    /// What the certificate is to bear: the name, or the address where there is no name.
    var certificateName: String {
        host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
    }
}

/// What waits for one destination, and what is known about it. Belongs to its worker's thread.
final class DestinationQueue {
    /// What is kept of a `WorkItem` while it waits.
    struct Item {
        let id: MessageID
        let recipients: RecipientSelection
    }

    enum Hosts {
        case unknown
        /// Being looked up.
        case asked
        case known([MailHost], until: MonotonicTime)
    }

    /// RFC 5321 5.1 lets a client limit how many addresses it tries in one attempt.
    static let maximumTargets = 8
    /// How long an address that failed is tried last.
    static let avoidance = Duration.seconds(60)

    let destination: Destination
    let server: RemoteServer
    let mailProtocol: ClientProtocol
    let tls: ClientTLSPolicy
    var login: ClientLogin?
    var items: Deque<Item> = []
    var hosts = Hosts.unknown
    /// The server is the address of a literal, and we ourselves listen there.
    var isOurselves = false
    /// Connections of any state.
    var connections: [ObjectIdentifier: ClientConnection] = [:]
    /// Those that are on their way to their first message.
    var openingCount = 0
    /// Those that wait for mail, the latest last.
    var idle: [ClientConnection] = []
    var window: DestinationWindow
    /// Nil: no limit.
    var rate: SendingRate?
    /// While `rate` holds mail back, or back from forgetting it.
    var rateTimer: LoopTimer?
    /// What `rateTimer` waits for, if mail waits for it too.
    var isHeldBackUntil: MonotonicTime?
    /// In the worker's line of those that wait for a free connection.
    var isWaitingForRoom = false
    var standing = Standing.unknown
    /// While no server has greeted: when one connection more is tried.
    var trial: LoopTimer?
    private var avoided: [SocketAddress: MonotonicTime] = [:]

    init(
        _ destination: Destination, _ server: RemoteServer, speaking mailProtocol: ClientProtocol,
        tls: ClientTLSPolicy, login: ClientLogin?, rate: RateLimit? = nil, maximumWindow: Int
    ) {
        self.destination = destination
        self.server = server
        self.mailProtocol = mailProtocol
        self.tls = server.isSocket ? .off : tls
        self.login = login
        self.rate = rate.map { SendingRate($0) }
        // A password that is refused isn't tried five times at once: some lock a user out for that.
        window = DestinationWindow(
            ceiling: maximumWindow, initial: login == nil ? DestinationWindow.initial : 1)
        switch server.host {
        case .address(let address):
            let host = MailHost(name: "[\(address)]", preference: 0, addresses: [address])
            hosts = .known([host], until: MonotonicTime(nanoseconds: .max))
        case .socket:
            hosts = .known([], until: MonotonicTime(nanoseconds: .max))
        case .host, .mailExchangers: break
        }
    }

    /// Another limit, or none; what was sent so far counts no more.
    func limit(to rate: RateLimit?) {
        guard rate != self.rate?.limit else { return }
        self.rate = rate.map { SendingRate($0) }
    }

    /// Whether domains with the same mail exchangers may use its connections. With a login or
    /// REQUIRETLS a connection is for the destination alone.
    var isShared: Bool {
        switch server.host {
        case .mailExchangers: login == nil && tls != .requireTLS
        case .address, .host, .socket: false
        }
    }

    var isUnused: Bool { items.isEmpty && connections.isEmpty }

    /// How many more connections are worth opening now.
    func connectionsWanted(at now: MonotonicTime) -> Int {
        let room = window.room(beside: connections.count, at: now)
        return max(0, min(items.count - openingCount, room))
    }

    /// Lets the window grow or shrink by what came of a transaction. That the server asked us to go
    /// away is about the connection, what it says about a message isn't.
    func note(_ result: TransactionResult, at now: MonotonicTime) {
        var isAccepted = false
        for verdict in result.verdicts {
            switch verdict {
            case .accepted: isAccepted = true
            case .deferred(.reply(let reply, _)) where reply.code == 421:
                return window.connectionRefused(at: now)
            case .deferred, .failed: break
            }
        }
        if isAccepted { window.messageTaken(connections: connections.count) }
    }

    func avoid(_ address: SocketAddress, at now: MonotonicTime) {
        avoided[address] = now + Self.avoidance
    }

    func isGood(_ address: SocketAddress) { avoided[address] = nil }

    /// Who a host is whose certificate bears the name that it was looked for by. DNS isn't validated
    /// and MTA-STS isn't asked, so that of a domain's mail exchangers only one that bears the name of
    /// the domain itself is known to be one; names from the configuration need no proof.
    func identity(ofVerified host: String) -> PeerIdentity {
        switch server.host {
        case .address, .host, .socket: .authenticated
        case .mailExchangers(let domain):
            DomainNameEncoding.asciiName(of: domain)?.lowercased() == host.lowercased()
                ? .authenticated : .verified
        }
    }

    /// Those of `hosts` that the policy lets be tried.
    func acceptable(_ hosts: [MailHost]) -> [MailHost] {
        switch tls {
        case .off, .opportunistic, .required: hosts
        case .requireTLS: hosts.filter { identity(ofVerified: $0.name) == .authenticated }
        }
    }

    /// The addresses to try, in the order of RFC 5321 5.1: by preference, equals in any order; those
    /// that failed a moment ago behind the others.
    func targets(of hosts: [MailHost], at now: MonotonicTime) -> [DeliveryTarget] {
        avoided = avoided.filter { $0.value > now }
        let targets = server.targets(on: hosts, speaking: mailProtocol)
        let hanging = hangingAddresses
        func isFresh(_ target: DeliveryTarget) -> Bool {
            avoided[target.address] == nil && !hanging.contains(target.address)
        }
        let ordered = targets.filter(isFresh) + targets.filter { !isFresh($0) }
        return ordered.prefix(Self.maximumTargets, reachingEach: \.preference)
    }

    /// Where connections are under way that no server has answered so far.
    private var hangingAddresses: Set<SocketAddress> {
        if window.isOpen { return [] }
        return Set(connections.values.flatMap { $0.targetsUnderWay.map(\.address) })
    }
}

extension RemoteServer {
    /// Every address of `hosts` in the order of RFC 5321 5.1: by preference, equals in any order. A
    /// socket has no hosts.
    func targets(
        on hosts: [MailHost], speaking mailProtocol: ClientProtocol
    ) -> [DeliveryTarget] {
        if case .socket(let path) = host {
            let address = SocketAddress(unixPath: path)
            return [DeliveryTarget(host: path, address: address, mailProtocol: mailProtocol)]
        }
        return hosts.shuffled().sorted { $0.preference < $1.preference }.flatMap { host in
            host.addresses.map {
                DeliveryTarget(
                    host: host.name, address: SocketAddress($0, port: port),
                    preference: host.preference, mailProtocol: mailProtocol)
            }
        }
    }
}

extension SocketAddress {
    init(_ address: IPAddress, port: UInt16) {
        switch address.storage {
        case .v4(let number): self.init(host: .v4(number), port: port)
        case .v6(let high, let low): self.init(host: .v6(high: high, low: low), port: port)
        }
    }
}
