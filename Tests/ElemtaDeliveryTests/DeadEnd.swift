import Glibc
import Testing

@testable import ElemtaReactor

/// A listening socket whose queue of connections is full: whoever connects hears nothing.
final class DeadEnd: @unchecked Sendable {
    // Safe because both are set in `init` and closed in `deinit` alone.
    private let listener: Int32
    private var clients: [Int32] = []
    let address: SocketAddress

    /// On a port of the kernel's choice, unless told otherwise.
    init(_ host: UInt32, port: UInt16 = 0) throws {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let listener = socket(AF_INET, type, 0)
        self.listener = listener
        var raw = sockaddr_in()
        raw.sin_family = sa_family_t(AF_INET)
        raw.sin_port = port.bigEndian
        raw.sin_addr.s_addr = host.bigEndian
        var one: Int32 = 1
        // Safe because the option is one Int32.
        unsafe setsockopt(
            listener, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        // Safe because the address is lent for the call, here and below.
        let bound = unsafe Self.call(&raw) { unsafe bind(listener, $0, $1) }
        try #require(bound == 0)
        try #require(listen(listener, 0) == 0)
        let address = try #require(Socket.localAddress(listener))
        self.address = address
        raw.sin_port = address.port.bigEndian
        // A queue of length 0 holds one; some more, for kernels that count otherwise.
        for _ in 0..<4 {
            let client = socket(AF_INET, type, 0)
            _ = unsafe Self.call(&raw) { unsafe connect(client, $0, $1) }
            clients.append(client)
        }
    }

    deinit {
        for client in clients { close(client) }
        close(listener)
    }

    @unsafe private static func call(
        _ raw: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        // Safe because sockaddr_in is what AF_INET sockets take.
        unsafe withUnsafePointer(to: &raw) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
