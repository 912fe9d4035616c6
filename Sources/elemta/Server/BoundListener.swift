import ElemtaConfiguration
import ElemtaReactor
import Glibc

/// A listener of the configuration with its sockets: bound here, or by systemd.
struct BoundListener {
    let listener: Configuration.Listener
    let sockets: [ListeningSocket]

    /// Binds every address of the configuration, or none.
    ///
    /// - Parameters:
    ///   - inherited: sockets that are bound already; each has to belong to a listener, or to
    ///     `http.listen_addr`.
    ///   - former: those of the server whose place is taken; what no listener wants is let go.
    /// - Throws: `BindError`.
    static func bind(
        _ configuration: Configuration, inherited: [ListeningSocket] = [],
        former: [ListeningSocket] = []
    ) throws(BindError) -> Server.Sockets {
        let others = former.filter { socket in
            !inherited.contains { $0.boundAddress == socket.boundAddress }
        }
        var rest = inherited + others
        var bound: [BoundListener] = []
        for listener in configuration.listeners {
            let sockets = try bind(
                listener.address, named: "\(listener.address)", besides: &rest)
            bound.append(BoundListener(listener: listener, sockets: sockets))
        }
        var http: [ListeningSocket] = []
        if let address = configuration.http.listenAddr {
            http = try bind(address, named: "\(address) (http.listen_addr)", besides: &rest)
        }
        if let stray = rest.first(where: { socket in !others.contains { $0 === socket } }) {
            throw BindError(
                address: "\(stray.boundAddress)", port: stray.boundAddress.port,
                cause: ReactorError(
                    "adopt a listening socket", code: 0,
                    reason: "no listener of the configuration has this address"))
        }
        return (bound, http)
    }

    /// - Parameter rest: those that belong to the address are taken out.
    private static func bind(
        _ address: Configuration.ListenAddress, named name: String,
        besides rest: inout [ListeningSocket]
    ) throws(BindError) -> [ListeningSocket] {
        let addresses = address.socketAddresses
        var taken: [ListeningSocket] = []
        rest.removeAll { socket in
            guard socket.serves(addresses) else { return false }
            taken.append(socket)
            return true
        }
        do throws(ReactorError) {
            return taken + (try ListeningSocket.bind(addresses, besides: taken))
        } catch {
            throw BindError(address: name, port: address.port, cause: error)
        }
    }
}

extension BoundListener {
    /// The listeners of another configuration: each address that was bound already keeps its sockets,
    /// with whatever port the kernel has chosen for it.
    ///
    /// - Throws: `BindError`; then nothing has changed.
    static func rebind(
        _ configuration: Configuration, former: [BoundListener]
    ) throws(BindError) -> [BoundListener] {
        var rest = former
        let kept = configuration.listeners.map { listener -> BoundListener? in
            let place = rest.firstIndex { $0.listener.address == listener.address }
            return place.map {
                BoundListener(listener: listener, sockets: rest.remove(at: $0).sockets)
            }
        }
        var others = configuration
        others.listeners = zip(configuration.listeners, kept).filter { $0.1 == nil }.map(\.0)
        others.http.listenAddr = nil
        var new = try bind(others, former: rest.flatMap(\.sockets)).smtp[...]
        return kept.compactMap { $0 ?? new.popFirst() }
    }
}

extension ListeningSocket {
    fileprivate func serves(_ addresses: [SocketAddress]) -> Bool {
        addresses.contains(boundAddress)
    }
}

/// An address of the configuration can't be listened on.
struct BindError: Error, CustomStringConvertible {
    /// With the key where it isn't a listener's.
    let address: String
    let port: UInt16
    let cause: ReactorError

    var isTaken: Bool { cause.code == EADDRINUSE }
    /// It takes rights that the process hasn't.
    var isDenied: Bool { cause.code == EACCES }

    /// With what helps, where that is known.
    var description: String {
        "cannot listen on \(address): \(cause)" + advice.map { "; \($0)" }.joined()
    }

    private var advice: [String] {
        switch cause.code {
        case EACCES:
            [
                "a port below 1024 takes one of: root, with the key user; systemd's "
                    + "AmbientCapabilities=CAP_NET_BIND_SERVICE; "
                    + "setcap cap_net_bind_service=+ep \(CommandLine.arguments.first ?? "elemta"); "
                    + "sysctl net.ipv4.ip_unprivileged_port_start=25"
            ]
        case EADDRINUSE:
            [
                PortOwner(of: port).map { "\($0)" }
                    ?? "somebody else has the port; ss -tanp, as root, says who"
            ]
        case EADDRNOTAVAIL:
            ["this machine doesn't have that address; ip address shows those it has"]
        default: []
        }
    }
}
