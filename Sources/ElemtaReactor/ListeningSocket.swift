import CLibevent
import Glibc

/// A bound and listening socket, which nobody accepts from yet: clients wait in its backlog. It is
/// closed when the last reference to it goes.
public final class ListeningSocket: Sendable {
    /// The address with the port that the kernel chose.
    public let boundAddress: SocketAddress

    let descriptor: OwnedDescriptor
    /// The file of a unix-domain socket, removed when the socket goes.
    private let file: FileIdentity?

    /// What the kernel keeps of replies that a client doesn't read, octets (it doubles this). By
    /// itself it would go to 4 MiB a connection, which somebody with many could ask of us.
    private static let sendBuffer: Int32 = 64 * 1024
    /// Connections that wait to be accepted, as far as `net.core.somaxconn` allows.
    public static let defaultBacklog: Int32 = 1024

    /// Binds and listens.
    ///
    /// IPv6 sockets take no IPv4 connections (`IPV6_V6ONLY`). A unix-domain socket has mode 0600
    /// from its first instant; a stale one at its path is removed. Throws `bind` with `EADDRINUSE`,
    /// `EACCES`, `EADDRNOTAVAIL`; `socket` with `EAFNOSUPPORT` where the family is missing.
    public init(
        _ address: SocketAddress, backlog: Int32 = defaultBacklog
    ) throws(ReactorError) {
        let descriptor = try Socket.make(address.family)
        if let path = address.unixPath {
            try Self.bind(descriptor.number, toPath: path)
            file = FileIdentity(at: path)
        } else {
            Socket.set(SOL_SOCKET, SO_REUSEADDR, on: descriptor.number)
            // Accepted sockets inherit it.
            Socket.set(SOL_SOCKET, SO_SNDBUF, to: Self.sendBuffer, on: descriptor.number)
            if address.family == AF_INET6 {
                Socket.set(Int32(IPPROTO_IPV6), IPV6_V6ONLY, on: descriptor.number)
            }
            try Socket.bind(descriptor.number, to: address)
            file = nil
        }
        guard Glibc.listen(descriptor.number, backlog) == 0 else { throw .current("listen") }
        boundAddress =
            address.unixPath == nil
            ? Socket.localAddress(descriptor.number) ?? address : address
        self.descriptor = descriptor
    }

    /// Takes over a socket that somebody else has bound, such as systemd. Throws `EINVAL` for one
    /// that is no listening stream socket of IPv4 or IPv6.
    public init(adopting descriptor: consuming OwnedDescriptor) throws(ReactorError) {
        guard Socket.option(SO_ACCEPTCONN, of: descriptor.number) == 1,
            Socket.option(SO_TYPE, of: descriptor.number) == Int32(SOCK_STREAM.rawValue),
            let address = Socket.localAddress(descriptor.number), address.host != nil
        else { throw ReactorError("adopt a listening socket", code: EINVAL) }
        let flags = fcntl(descriptor.number, F_GETFL)
        guard fcntl(descriptor.number, F_SETFL, flags | O_NONBLOCK) == 0,
            fcntl(descriptor.number, F_SETFD, FD_CLOEXEC) == 0
        else { throw .current("fcntl") }
        Socket.set(SOL_SOCKET, SO_SNDBUF, to: Self.sendBuffer, on: descriptor.number)
        boundAddress = address
        file = nil
        self.descriptor = descriptor
    }

    deinit {
        if let path = boundAddress.unixPath, let file, file == FileIdentity(at: path) {
            unsafe unlink(path)
        }
    }

    /// Whether IPv4 clients come to this IPv6 socket too, with v4-mapped addresses.
    public var isDualStack: Bool {
        boundAddress.family == AF_INET6
            && Socket.option(IPV6_V6ONLY, at: Int32(IPPROTO_IPV6), of: descriptor.number) == 0
    }

    /// Whether whoever connects to `address` comes to this socket.
    private func covers(_ address: SocketAddress) -> Bool {
        switch address.host {
        case .v4 where boundAddress == SocketAddress(host: .v6(high: 0, low: 0), port: address.port):
            isDualStack
        case _: boundAddress == address
        }
    }

    /// Listens on every address of a list, as ``SocketAddress/all(_:)`` gives it, but for those that
    /// the sockets `adopted` listen on.
    ///
    /// With port 0 the second family gets the port that the first was given. On a machine without
    /// IPv6 its wildcard address is left out. Throws what ``init(_:backlog:)`` throws; then none of
    /// them listens.
    public static func bind(
        _ addresses: [SocketAddress], besides adopted: [ListeningSocket] = [],
        backlog: Int32 = defaultBacklog
    ) throws(ReactorError) -> [ListeningSocket] {
        var sockets: [ListeningSocket] = []
        for address in addresses where !adopted.contains(where: { $0.covers(address) }) {
            // The pair that ":port" stands for works on a machine without IPv6, too.
            let isOptional =
                address.host == .v6(high: 0, low: 0)
                && addresses.contains(SocketAddress(host: .v4(0), port: address.port))
            let chosen = address.port == 0 ? sockets.first?.boundAddress.port ?? 0 : address.port
            do {
                sockets.append(
                    try ListeningSocket(address.withPort(chosen), backlog: backlog))
            } catch  where isOptional && [EAFNOSUPPORT, EADDRNOTAVAIL].contains(error.code) {
                continue
            }
        }
        return sockets
    }

    private static func bind(_ descriptor: Int32, toPath path: String) throws(ReactorError) {
        let bindable = try UnixSocketPath(path, for: "bind")
        try bindable.removeStale()
        // Linux makes the file with the mode that the socket has by now: nobody else can connect
        // between bind and a chmod.
        fchmod(descriptor, S_IRUSR | S_IWUSR)
        try bindable.bind(descriptor)
    }
}
