import CLibevent
import Glibc

/// A listening socket: accepts connections and hands them over.
///
/// Accepts at most 64 connections a turn, so that a flood of them doesn't starve those that are
/// there. When descriptors run out it gives up a spare one to accept, refuse and close each newcomer
/// (otherwise the socket stays readable and the loop spins); when even that fails it doesn't look
/// for 100 ms.
public final class Listener {
    /// The address with the port that the kernel chose.
    public let boundAddress: SocketAddress

    private let loop: EventLoop
    private let descriptor: OwnedDescriptor
    private let accepted: (consuming AcceptedSocket) -> Void
    private let refusal: [UInt8]
    private var spare: OwnedDescriptor?
    private var state = State.paused
    /// The file of a unix-domain socket, removed when the listener goes.
    private let file: FileIdentity?

    private enum State {
        case accepting(DescriptorWatch)
        /// Out of descriptors: accepts again when the timer fires.
        case waiting(LoopTimer)
        case paused
    }

    private static let acceptsPerTurn = 64
    /// What the kernel keeps of replies that a client doesn't read, octets (it doubles this). By
    /// itself it would go to 4 MiB a connection, which somebody with many could ask of us.
    private static let sendBuffer: Int32 = 64 * 1024
    private static let waitForDescriptors = Duration.milliseconds(100)

    /// Binds and listens; connections are accepted from the loop's next turn on.
    ///
    /// IPv6 sockets take no IPv4 connections (`IPV6_V6ONLY`). A unix-domain socket has mode 0600
    /// from its first instant; a stale one at its path is removed. `refusal` is what a client is sent
    /// that can't be served for want of descriptors. Throws `bind` with `EADDRINUSE`, `EACCES`,
    /// `EADDRNOTAVAIL`; `socket` with `EAFNOSUPPORT` where the family is missing.
    public init(
        loop: EventLoop, address: SocketAddress, backlog: Int32 = 1024, refusal: [UInt8] = [],
        accepted: @escaping (consuming AcceptedSocket) -> Void
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
        self.loop = loop
        self.refusal = refusal
        self.accepted = accepted
        spare = Self.openSpare()
        resume()
    }

    deinit {
        if let path = boundAddress.unixPath, let file, file == FileIdentity(at: path) {
            unsafe unlink(path)
        }
    }

    /// Listens on every address of a list, as ``SocketAddress/all(_:)`` gives it.
    ///
    /// With port 0 the second family gets the port that the first was given. On a machine without
    /// IPv6 its wildcard address is left out. Throws what ``init(loop:address:backlog:refusal:accepted:)``
    /// throws; then none of them listens.
    public static func listen(
        loop: EventLoop, on addresses: [SocketAddress], backlog: Int32 = 1024,
        refusal: [UInt8] = [], accepted: @escaping (consuming AcceptedSocket) -> Void
    ) throws(ReactorError) -> [Listener] {
        var listeners: [Listener] = []
        for address in addresses {
            // The pair that ":port" stands for works on a machine without IPv6, too.
            let isOptional =
                address.host == .v6(high: 0, low: 0)
                && addresses.contains(SocketAddress(host: .v4(0), port: address.port))
            let chosen = address.port == 0 ? listeners.first?.boundAddress.port ?? 0 : address.port
            do {
                listeners.append(
                    try Listener(
                        loop: loop, address: address.withPort(chosen), backlog: backlog,
                        refusal: refusal, accepted: accepted))
            } catch  where isOptional && [EAFNOSUPPORT, EADDRNOTAVAIL].contains(error.code) {
                continue
            }
        }
        return listeners
    }

    /// Accepts nobody until ``resume()``; newcomers wait in the kernel's backlog.
    public func pause() {
        state = .paused
    }

    /// Accepts (again).
    public func resume() {
        state = .accepting(
            // Unowned, since the watch is gone when the listener is.
            loop.watch(readable: descriptor.number) { [unowned self] in acceptBatch() })
    }

    private static func bind(_ descriptor: Int32, toPath path: String) throws(ReactorError) {
        let bindable = try UnixSocketPath(path, for: "bind")
        try bindable.removeStale()
        // Linux makes the file with the mode that the socket has by now: nobody else can connect
        // between bind and a chmod.
        fchmod(descriptor, S_IRUSR | S_IWUSR)
        try bindable.bind(descriptor)
    }

    private func acceptBatch() {
        for _ in 0..<Self.acceptsPerTurn {
            // `accepted` may have paused this listener.
            guard case .accepting = state else { return }
            switch acceptOne() {
            case .accepted, .lost: continue
            case .none: return
            case .outOfDescriptors:
                switch refuseOne() {
                case .accepted, .lost: continue
                case .none: return
                case .outOfDescriptors, .outOfMemory: return waitForDescriptors()
                }
            case .outOfMemory: return waitForDescriptors()
            }
        }
    }

    private enum Attempt {
        case accepted
        /// The client was gone before it was accepted.
        case lost
        case none
        case outOfDescriptors
        case outOfMemory
    }

    private func acceptOne() -> Attempt {
        acceptRaw { [accepted] socket in accepted(socket) }
    }

    /// Gives up the spare descriptor to tell one client that there is none for it. That can fail
    /// too: another thread may be faster to take what was given up.
    private func refuseOne() -> Attempt {
        guard spare != nil else {
            spare = Self.openSpare()
            return .outOfDescriptors
        }
        spare = nil
        defer { spare = Self.openSpare() }
        return acceptRaw { [refusal] socket in socket.refuse(with: refusal) }
    }

    private func acceptRaw(_ body: (consuming AcceptedSocket) -> Void) -> Attempt {
        let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let (number, address) = unsafe SocketAddress.filled {
            unsafe accept4(descriptor.number, $0, $1, flags)
        }
        guard number >= 0 else {
            return switch errno {
            case EAGAIN: .none
            case EMFILE, ENFILE: .outOfDescriptors
            case ENOBUFS, ENOMEM: .outOfMemory
            // Everything else is an error of the connection that was waiting: accept(2).
            default: .lost
            }
        }
        let remote = address ?? SocketAddress(unixPath: "")
        body(AcceptedSocket(OwnedDescriptor(taking: number), remoteAddress: remote))
        return .accepted
    }

    private func waitForDescriptors() {
        state = .waiting(loop.after(Self.waitForDescriptors) { [unowned self] in resume() })
    }

    private static func openSpare() -> OwnedDescriptor? {
        let number = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
        return number >= 0 ? OwnedDescriptor(taking: number) : nil
    }
}
