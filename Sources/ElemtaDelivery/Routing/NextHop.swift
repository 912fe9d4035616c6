public import ElemtaSMTP

/// A server that takes mail by SMTP or LMTP.
public struct RemoteServer: Hashable, Sendable {
    /// How the server's addresses are found.
    public enum Host: Hashable, Sendable {
        case address(IPAddress)
        /// By A and AAAA alone.
        case host(Domain)
        /// By MX, as RFC 5321 5.1 says.
        case mailExchangers(of: Domain)
        /// A unix-domain socket, by its absolute path; there is no port.
        case socket(path: String)
    }

    public let host: Host
    public let port: UInt16

    /// RFC 5321 4.5.4.2.
    public static let smtpPort: UInt16 = 25

    public init(_ host: Host, port: UInt16 = RemoteServer.smtpPort) {
        self.host = host
        self.port = port
    }

    /// Where mail for `domain` goes when nothing else is configured: its mail exchangers, or the
    /// address of a literal (RFC 5321 2.3.4).
    public init(mailDomain domain: Domain) {
        self.init(domain.addressLiteral.map { .address($0) } ?? .mailExchangers(of: domain))
    }

    /// What is said to it never leaves this machine (for the name, RFC 6761 6.3).
    var isLocal: Bool {
        switch host {
        case .address(let address): address.isLoopback
        case .host(let domain): domain.description == "localhost"
        case .mailExchangers: false
        case .socket: true
        }
    }

    /// Reads `delivery.relay_host`: `host:port`, `192.0.2.1:25`, `[192.0.2.1]:25`, `[2001:db8::1]`,
    /// `[mail.example.com]:587`. Brackets and addresses need no MX look-up.
    public init?(relayHost text: String, defaultPort: UInt16 = RemoteServer.smtpPort) {
        guard let (name, port) = Self.split(text), let host = Self.host(name, usesMX: true)
        else { return nil }
        self.init(host, port: port ?? defaultPort)
    }

    /// Reads a domain, and a port behind a colon where it isn't that of SMTP. Never an address: mail for
    /// `a@127.0.0.1` is for a domain of that name, though there is none (RFC 5321 4.1.3 wants brackets).
    init?(exchangersOf text: String) {
        guard let (name, port) = Self.split(text), let domain = Domain(String(name)),
            domain.addressLiteral == nil
        else { return nil }
        self.init(.mailExchangers(of: domain), port: port ?? Self.smtpPort)
    }

    /// Reads what follows `smtp://` in a route: as `init(relayHost:)`, but a name is a host.
    public init?(authority text: String) {
        guard let (name, port) = Self.split(text), let host = Self.host(name, usesMX: false)
        else { return nil }
        self.init(host, port: port ?? Self.smtpPort)
    }

    /// Takes the absolute path of a unix-domain socket.
    public init?(socket path: String) {
        guard path.hasPrefix("/"), !path.hasSuffix("/"), !path.utf8.contains(0) else { return nil }
        self.init(.socket(path: path), port: 0)
    }

    var isSocket: Bool { if case .socket = host { true } else { false } }

    private static func split(_ text: String) -> (name: Substring, port: UInt16?)? {
        let end = text.lastIndex(of: "]").map { text.index(after: $0) } ?? text.startIndex
        guard let colon = text[end...].firstIndex(of: ":") else { return (text[...], nil) }
        let digits = text[text.index(after: colon)...]
        guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let port = UInt16(digits), port > 0
        else { return nil }
        return (text[..<colon], port)
    }

    private static func host(_ name: Substring, usesMX: Bool) -> Host? {
        if name.hasPrefix("["), name.hasSuffix("]") {
            let inner = String(name.dropFirst().dropLast())
            if let address = IPAddress(inner) { return .address(address) }
            guard let domain = Domain(inner) ?? Domain(String(name)) else { return nil }
            return domain.addressLiteral.map { .address($0) } ?? .host(domain)
        }
        if let address = IPAddress(String(name)) { return .address(address) }
        guard let domain = Domain(String(name)) else { return nil }
        return usesMX ? .mailExchangers(of: domain) : .host(domain)
    }
}

extension RemoteServer: CustomStringConvertible {
    /// `[192.0.2.1]:25`, `mail.example.com:25`, `example.com` (its mail exchangers, port 25),
    /// `/run/dovecot/lmtp`.
    public var description: String {
        switch host {
        case .address(let address): "[\(address)]:\(port)"
        case .host(let domain): "\(domain):\(port)"
        case .mailExchangers(let domain):
            port == Self.smtpPort ? "\(domain)" : "\(domain):\(port)"
        case .socket(let path): path
        }
    }
}

/// How mail leaves.
public enum NextHop: Hashable, Sendable {
    case smtp(RemoteServer)
    /// RFC 2033: into mailboxes that another server keeps.
    case lmtp(RemoteServer)
    case maildir(MaildirTemplate)
    /// Thrown away and called delivered: for benchmarks.
    case discard

    /// The server, and what is spoken with it; nil where there is none.
    var server: (server: RemoteServer, mailProtocol: ClientProtocol)? {
        switch self {
        case .smtp(let server): (server, .smtp)
        case .lmtp(let server): (server, .lmtp(isLocal: server.isLocal))
        case .maildir, .discard: nil
        }
    }

    /// Whether a message may come here that requires TLS, without TLS: it has arrived, and nothing
    /// more goes over any wire.
    var isLocalMailbox: Bool {
        switch self {
        case .smtp: false
        case .lmtp(let server): server.isLocal
        case .maildir, .discard: true
        }
    }
}
