import Glibc

/// Where a socket is bound or connected: IPv4, IPv6 (with a scope), or a path of a unix-domain
/// socket.
public struct SocketAddress: Hashable, Sendable {
    /// An IP address as numbers: `v4` in host order, `v6` as its two halves.
    public enum Host: Hashable, Sendable {
        case v4(UInt32)
        case v6(high: UInt64, low: UInt64)
    }

    enum Storage: Hashable, Sendable {
        case v4(UInt32, port: UInt16)
        case v6(high: UInt64, low: UInt64, scope: UInt32, port: UInt16)
        /// Empty: a peer that isn't bound to a path, as clients of unix-domain sockets aren't.
        case unix(path: String)
    }

    let storage: Storage

    init(_ storage: Storage) {
        self.storage = storage
    }

    /// `scope` is the interface number of a link-local IPv6 address, else 0.
    public init(host: Host, port: UInt16, scope: UInt32 = 0) {
        storage =
            switch host {
            case .v4(let address): .v4(address, port: port)
            case .v6(let high, let low): .v6(high: high, low: low, scope: scope, port: port)
            }
    }

    /// The path may be longer than the 107 octets that `sockaddr_un` holds.
    public init(unixPath: String) {
        storage = .unix(path: unixPath)
    }

    /// Reads `127.0.0.1:25`, `[::1]:25`, `[fe80::1%eth0]:25`, or a path that begins with `/` or
    /// `./`. Nil for anything else; names aren't looked up.
    public init?(_ text: String) {
        // C would see the text before it only.
        guard !text.utf8.contains(0) else { return nil }
        if text.hasPrefix("/") || text.hasPrefix("./") {
            self.init(unixPath: text)
            return
        }
        guard let colon = text.lastIndex(of: ":"),
            let port = Self.port(text[text.index(after: colon)...])
        else { return nil }
        let host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            guard let parsed = Self.v6(host.dropFirst().dropLast(), port: port) else { return nil }
            self.init(parsed)
        } else {
            guard let address = Self.v4(host) else { return nil }
            self.init(.v4(address, port: port))
        }
    }

    /// Like ``init(_:)``, and `:2525` is all addresses: first `[::]:2525`, then `0.0.0.0:2525`,
    /// since each family gets a socket of its own. Empty when `text` can't be read.
    public static func all(_ text: String) -> [SocketAddress] {
        if text.hasPrefix(":"), let port = port(text.dropFirst()) {
            return [
                SocketAddress(host: .v6(high: 0, low: 0), port: port),
                SocketAddress(host: .v4(0), port: port),
            ]
        }
        return SocketAddress(text).map { [$0] } ?? []
    }

    /// The IP address; nil for a unix-domain socket.
    public var host: Host? {
        switch storage {
        case .v4(let address, _): .v4(address)
        case .v6(let high, let low, _, _): .v6(high: high, low: low)
        case .unix: nil
        }
    }

    /// The port; 0 for a unix-domain socket.
    public var port: UInt16 {
        switch storage {
        case .v4(_, let port), .v6(_, _, _, let port): port
        case .unix: 0
        }
    }

    /// The path of a unix-domain socket, empty for an unnamed peer; nil for the others.
    public var unixPath: String? {
        if case .unix(let path) = storage { path } else { nil }
    }

    /// The same host with another port; a unix-domain address stays as it is.
    public func withPort(_ port: UInt16) -> SocketAddress {
        switch storage {
        case .v4(let address, _): SocketAddress(.v4(address, port: port))
        case .v6(let high, let low, let scope, _):
            SocketAddress(.v6(high: high, low: low, scope: scope, port: port))
        case .unix: self
        }
    }

    /// Decimal digits, nothing else: `Int` would take a sign.
    private static func port(_ text: Substring) -> UInt16? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return nil
        }
        return UInt16(text)
    }

    private static func v4(_ text: Substring) -> UInt32? {
        var address = in_addr()
        // Safe because `address` is what AF_INET asks for.
        guard unsafe inet_pton(AF_INET, String(text), &address) == 1 else { return nil }
        return UInt32(bigEndian: address.s_addr)
    }

    private static func v6(_ text: Substring, port: UInt16) -> Storage? {
        let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        var address = in6_addr()
        // Safe because `address` is what AF_INET6 asks for.
        guard unsafe inet_pton(AF_INET6, String(parts[0]), &address) == 1 else { return nil }
        var scope: UInt32 = 0
        if parts.count == 2 {
            scope = unsafe UInt32(parts[1]) ?? if_nametoindex(String(parts[1]))
            guard scope != 0 else { return nil }
        }
        let (high, low) = halves(of: address)
        return .v6(high: high, low: low, scope: scope, port: port)
    }
}

extension SocketAddress: CustomStringConvertible {
    /// What ``init(_:)`` reads: `127.0.0.1:25`, `[::1]:25`, a path.
    public var description: String {
        switch storage {
        case .v4(let address, let port):
            var octets = in_addr(s_addr: address.bigEndian)
            // Safe because `octets` is what AF_INET asks for.
            return unsafe "\(Self.text(AF_INET, &octets)):\(port)"
        case .v6(let high, let low, let scope, let port):
            var octets = Self.octets(high: high, low: low)
            // Safe because `octets` is what AF_INET6 asks for.
            let host = unsafe Self.text(AF_INET6, &octets)
            return scope == 0 ? "[\(host)]:\(port)" : "[\(host)%\(scope)]:\(port)"
        case .unix(let path):
            return path.isEmpty ? "unix:" : path
        }
    }

    /// `inet_ntop`, which writes IPv6 as RFC 5952 asks.
    @unsafe private static func text(_ family: Int32, _ address: UnsafeRawPointer) -> String {
        let capacity = Int(INET6_ADDRSTRLEN)
        // Safe because the buffer is as long as the longest address with its NUL.
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer in
            let end = unsafe inet_ntop(family, address, buffer.baseAddress, UInt32(capacity))
            guard let text = unsafe end else { return "?" }
            return unsafe String(cString: text)
        }
    }
}
