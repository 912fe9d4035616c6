public import ElemtaSMTP

extension Configuration {
    /// Where a listener binds: one address, or every address of the machine, and a port.
    public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
        /// nil: all addresses, IPv4 and IPv6.
        public var host: IPAddress?
        /// 0: the kernel chooses.
        public var port: UInt16

        public init(host: IPAddress? = nil, port: UInt16) {
            self.host = host
            self.port = port
        }

        /// Reads `:2525`, `127.0.0.1:2525` and `[::1]:2525`; nil for anything else. Host names are
        /// refused: what they resolve to at start is not what somebody who reads the file expects.
        public init?(_ text: String) {
            guard let (host, port) = splitHostAndPort(text), let port = port.flatMap(portNumber)
            else { return nil }
            switch host {
            case .plain(""):
                self.init(port: port)
            case .plain(let name):
                guard let address = IPAddress(name), address.isV4 else { return nil }
                self.init(host: address, port: port)
            case .bracketed(let name):
                guard let address = IPAddress(name), !address.isV4 else { return nil }
                self.init(host: address, port: port)
            }
        }

        public var description: String {
            switch host {
            case nil: ":\(port)"
            case .some(let address): joinedHostAndPort(address, port)
            }
        }
    }

    /// An address and a port of somebody else's server, e.g. a DNS server.
    public struct ServerAddress: Hashable, Sendable, CustomStringConvertible {
        public var address: IPAddress
        public var port: UInt16

        public init(address: IPAddress, port: UInt16) {
            self.address = address
            self.port = port
        }

        /// Reads `127.0.0.1`, `127.0.0.1:5353`, `::1` and `[::1]:5353`.
        public init?(_ text: String, defaultPort: UInt16) {
            if let address = IPAddress(text) {
                self.init(address: address, port: defaultPort)
                return
            }
            guard let (host, written) = splitHostAndPort(text),
                let address = IPAddress(host.name),
                host.isBracketed != address.isV4
            else { return nil }
            guard let port = written.map(portNumber) ?? defaultPort, port > 0 else { return nil }
            self.init(address: address, port: port)
        }

        public var description: String { joinedHostAndPort(address, port) }
    }

    /// The next hop that a relay host or a route names.
    public struct NextHop: Hashable, Sendable, CustomStringConvertible {
        public enum Host: Hashable, Sendable {
            /// Connect there; nothing is looked up.
            case address(IPAddress)
            /// Look up A and AAAA of this name, no MX: a route's host, or a relay host in brackets.
            case name(Domain)
            /// Look up the MX of this name first (RFC 5321 5.1).
            case exchangers(of: Domain)
        }

        public var host: Host
        public var port: UInt16

        public init(host: Host, port: UInt16) {
            self.host = host
            self.port = port
        }

        public var description: String {
            switch host {
            case .address(let address): joinedHostAndPort(address, port)
            case .name(let domain): "[\(domain)]:\(port)"
            case .exchangers(let domain): "\(domain):\(port)"
            }
        }

        /// Reads `delivery.relay_host`: `host:port`, `[host]:port` (no MX look-up), `10.0.0.5:25`,
        /// `[10.0.0.5]:25`, `[2001:db8::1]:25`. Without a port it is 25.
        init?(relayHost text: String) {
            if let address = IPAddress(text) {
                self.init(host: .address(address), port: 25)
                return
            }
            guard let (host, written) = splitHostAndPort(text) else { return nil }
            guard let port = written.map(portNumber) ?? 25, port > 0 else { return nil }
            if let address = IPAddress(host.name) {
                guard host.isBracketed || address.isV4 else { return nil }
                self.init(host: .address(address), port: port)
                return
            }
            guard let domain = hostName(host.name) else { return nil }
            self.init(host: host.isBracketed ? .name(domain) : .exchangers(of: domain), port: port)
        }

        /// Reads what follows `smtp://` or `lmtp://`: a host name, an IPv4 address, or an IPv6
        /// address in brackets; then the port, which may be left out when there is a default.
        init?(authority text: String, defaultPort: UInt16?) {
            guard let (host, written) = splitHostAndPort(text) else { return nil }
            guard let port = written.map(portNumber) ?? defaultPort, port > 0 else { return nil }
            if let address = IPAddress(host.name) {
                guard host.isBracketed != address.isV4 else { return nil }
                self.init(host: .address(address), port: port)
                return
            }
            guard !host.isBracketed, let domain = hostName(host.name) else { return nil }
            self.init(host: .name(domain), port: port)
        }
    }
}

private enum WrittenHost {
    case plain(String)
    case bracketed(String)

    var name: String {
        switch self {
        case .plain(let name), .bracketed(let name): name
        }
    }

    var isBracketed: Bool {
        switch self {
        case .plain: false
        case .bracketed: true
        }
    }
}

/// Splits `host:port`, `[host]:port`, `host` and `[host]`. Nil when the brackets don't pair or a
/// colon is left in an unbracketed host (an IPv6 address whose port nobody could tell apart).
private func splitHostAndPort(_ text: String) -> (WrittenHost, String?)? {
    if text.first == "[" {
        guard let end = text.firstIndex(of: "]") else { return nil }
        let name = String(text[text.index(after: text.startIndex)..<end])
        let rest = text[text.index(after: end)...]
        if rest.isEmpty { return (.bracketed(name), nil) }
        guard rest.first == ":" else { return nil }
        return (.bracketed(name), String(rest.dropFirst()))
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    switch parts.count {
    case 1: return (.plain(text), nil)
    case 2: return (.plain(String(parts[0])), String(parts[1]))
    default: return nil
    }
}

private func portNumber(_ text: String) -> UInt16? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt16(text)
}

/// A domain name, not an address literal: brackets mean something else in these settings. What
/// looks like a mistyped IPv4 address (the last label is a number) is no name either.
private func hostName(_ text: String) -> Domain? {
    guard let domain = Domain(text), domain.addressLiteral == nil else { return nil }
    let last = text.utf8.reversed().prefix { $0 != UInt8(ascii: ".") }
    guard !last.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return domain
}

private func joinedHostAndPort(_ address: IPAddress, _ port: UInt16) -> String {
    address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)"
}
