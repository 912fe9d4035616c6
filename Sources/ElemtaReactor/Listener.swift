import CLibevent
import Glibc

/// Accepts connections from a listening socket and hands them over.
///
/// Accepts at most 64 connections a turn, so that a flood of them doesn't starve those that are
/// there. When descriptors run out it gives up a spare one to accept, refuse and close each newcomer
/// (otherwise the socket stays readable and the loop spins); when even that fails it doesn't look
/// for 100 ms.
public final class Listener {
    /// The address with the port that the kernel chose.
    public var boundAddress: SocketAddress { socket.boundAddress }

    /// Where it accepts.
    public let socket: ListeningSocket

    private let loop: EventLoop
    private let accepted: (consuming AcceptedSocket) -> Void
    private let refusal: [UInt8]
    private let refused: (SocketAddress) -> Void
    private var spare: OwnedDescriptor?
    private var state = State.paused

    private enum State {
        case accepting(DescriptorWatch)
        /// Out of descriptors: accepts again when the timer fires.
        case waiting(LoopTimer)
        case paused
    }

    private static let acceptsPerTurn = 64
    private static let waitForDescriptors = Duration.milliseconds(100)

    /// Connections are accepted from the loop's next turn on. `refusal` is what a client is sent that
    /// can't be served for want of descriptors; `refused` hears of each of them, with its address.
    public init(
        loop: EventLoop, socket: ListeningSocket, refusal: [UInt8] = [],
        refused: @escaping (SocketAddress) -> Void = { _ in },
        accepted: @escaping (consuming AcceptedSocket) -> Void
    ) {
        self.socket = socket
        self.loop = loop
        self.refusal = refusal
        self.refused = refused
        self.accepted = accepted
        spare = Self.openSpare()
        resume()
    }

    /// Binds, listens and accepts. Throws what ``ListeningSocket/init(_:backlog:)`` throws.
    public convenience init(
        loop: EventLoop, address: SocketAddress,
        backlog: Int32 = ListeningSocket.defaultBacklog, refusal: [UInt8] = [],
        refused: @escaping (SocketAddress) -> Void = { _ in },
        accepted: @escaping (consuming AcceptedSocket) -> Void
    ) throws(ReactorError) {
        let socket = try ListeningSocket(address, backlog: backlog)
        self.init(
            loop: loop, socket: socket, refusal: refusal, refused: refused, accepted: accepted)
    }

    /// Accepts nobody until ``resume()``; newcomers wait in the kernel's backlog.
    public func pause() {
        state = .paused
    }

    /// Accepts (again).
    public func resume() {
        state = .accepting(
            // Unowned, since the watch is gone when the listener is.
            loop.watch(readable: socket.descriptor.number) { [unowned self] in acceptBatch() })
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
        return acceptRaw { [refusal, refused] socket in
            let address = socket.remoteAddress
            socket.refuse(with: refusal)
            refused(address)
        }
    }

    private func acceptRaw(_ body: (consuming AcceptedSocket) -> Void) -> Attempt {
        let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let (number, address) = unsafe SocketAddress.filled {
            unsafe accept4(socket.descriptor.number, $0, $1, flags)
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
