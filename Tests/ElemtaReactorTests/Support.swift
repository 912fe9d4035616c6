import ElemtaReactor
import Glibc
import Testing

/// A loop that runs until what a test awaits has happened; a guard timer fails the test if it
/// doesn't.
final class TestLoop {
    let loop: EventLoop
    /// Connections whose delegates don't hold them.
    private var held: [Connection] = []

    init() throws {
        loop = try EventLoop()
    }

    /// Keeps `connection` as long as the test.
    func hold(_ connection: Connection) {
        held.append(connection)
    }

    /// Runs until somebody calls `loop.stop()`.
    func run(_ awaited: Comment, location: SourceLocation = #_sourceLocation) {
        let guardTimer = loop.after(.seconds(20)) { [loop] in
            Issue.record("never happened: \(awaited)", sourceLocation: location)
            loop.stop()
        }
        loop.run()
        guardTimer.cancel()
    }

    /// Lets the loop turn `count` times: long enough for everything to happen that is on its way
    /// over loopback, where what was sent can be received at once.
    func turn(_ count: Int) {
        for _ in 0..<count {
            let timer = loop.after(.milliseconds(1)) { [loop] in loop.stop() }
            loop.run()
            timer.cancel()
        }
    }

    /// A listener on a port of loopback that the kernel chooses.
    func listener(
        refusal: [UInt8] = [], refused: @escaping (SocketAddress) -> Void = { _ in },
        accepted: @escaping (consuming AcceptedSocket) -> Void
    ) throws -> Listener {
        try Listener(
            loop: loop, address: .loopback, refusal: refusal, refused: refused, accepted: accepted)
    }

    /// A connection of the reactor's with a plain blocking socket of the test's at its other end.
    func pair(_ recorder: Recorder) throws -> (connection: Connection, peer: Peer) {
        var accepted: Connection?
        let listener = try listener { [loop] socket in
            accepted = try? Connection(loop: loop, accepted: socket, delegate: recorder)
            loop.stop()
        }
        let peer = try Peer(connectedTo: listener.boundAddress)
        run("accepted")
        let connection = try #require(accepted)
        held.append(connection)
        return (connection, peer)
    }
}

/// A delegate that keeps what it was told as text, and passes it on.
final class Recorder: ConnectionDelegate {
    var events: [String] = []
    var received: [UInt8] = []
    /// Takes everything that comes into `received`.
    var takesInput = true
    var then: (Connection, ConnectionEvent) -> Void = { _, _ in }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        if case .failed(let error) = event {
            events.append("failed \(error.operation)")
        } else {
            events.append("\(event)")
        }
        if case .readable = event, takesInput { received += connection.takeAll() }
        then(connection, event)
    }

    var text: String { String(decoding: received, as: UTF8.self) }
}

/// Compares without printing a million octets when it fails.
func same(_ left: some Collection<UInt8>, _ right: some Collection<UInt8>) -> Bool {
    left.elementsEqual(right)
}

extension SocketAddress {
    static let loopback = SocketAddress(host: .v4(0x7f00_0001), port: 0)
}

extension Connection {
    /// The first octets of the input, copied and drained.
    func take(_ count: Int) -> [UInt8] {
        withInput { input in
            let octets = input.withFirstSegment { segment in
                segment.indices.prefix(count).map { segment[$0] }
            }
            input.drain(octets.count)
            return octets
        }
    }

    /// Everything in the input, copied and drained.
    func takeAll() -> [UInt8] {
        withInput { input in
            var octets: [UInt8] = []
            while input.count > 0 {
                let count = input.withFirstSegment { segment in
                    unsafe segment.withUnsafeBufferPointer {
                        unsafe octets.append(contentsOf: $0)
                    }
                    return segment.count
                }
                input.drain(count)
            }
            return octets
        }
    }
}

extension ByteChain {
    var octets: [UInt8] {
        var octets: [UInt8] = []
        forEachSegment { segment in
            unsafe segment.withUnsafeBufferPointer { unsafe octets.append(contentsOf: $0) }
        }
        return octets
    }

    var segmentCount: Int {
        var count = 0
        forEachSegment { _ in count += 1 }
        return count
    }
}

/// A blocking IPv4 socket of the test's own, which knows nothing of the reactor.
final class Peer: Sendable {
    let number: Int32

    init(connectedTo address: SocketAddress) throws {
        number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var raw = sockaddr_in()
        raw.sin_family = sa_family_t(AF_INET)
        raw.sin_port = address.port.bigEndian
        raw.sin_addr = in_addr(s_addr: UInt32(0x7f00_0001).bigEndian)
        let result = unsafe withUnsafePointer(to: &raw) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
    }

    deinit {
        close(number)
    }

    /// Sends all of `octets`, waiting.
    func send(_ octets: [UInt8]) {
        var rest = octets[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    func send(_ text: String) {
        send(Array(text.utf8))
    }

    /// Closes with a reset: the kernel throws away what is under way.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(
            number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        // The number stays taken, so that deinit closes nobody else's.
        let other = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        dup2(other, number)
        close(other)
    }

    func endOutput() {
        shutdown(number, Int32(SHUT_WR))
    }

    /// Everything until the peer ends, waiting.
    func receiveAll() -> [UInt8] {
        var octets: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe recv(number, $0.baseAddress, $0.count, 0)
            }
            guard count > 0 else { return octets }
            octets += buffer[..<count]
        }
    }
}

/// A directory of the test's own, removed with what is in it.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/elemta-test-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return false }
            return unsafe mkdtemp(start) != nil
        }
        try #require(made)
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        removeTree(path)
    }
}

private func removeTree(_ path: String) {
    if let directory = unsafe opendir(path) {
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { octets in
                unsafe String(decoding: octets.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { removeTree("\(path)/\(name)") }
        }
        unsafe closedir(directory)
    }
    unsafe remove(path)
}
