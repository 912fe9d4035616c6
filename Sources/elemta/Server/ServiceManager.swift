import ElemtaReactor
import Glibc

/// What systemd is told (sd_notify(3)) and what it hands over (sd_listen_fds(3)); nothing where
/// nobody asks.
struct ServiceManager {
    private let socketPath: String?
    /// How often a sign of life is to be given: half of what `WatchdogSec` allows.
    let signOfLife: Duration?

    init(environment: (String) -> String? = ServiceManager.variable) {
        socketPath = environment("NOTIFY_SOCKET")
        let isForUs = environment("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
        signOfLife =
            isForUs
            ? environment("WATCHDOG_USEC").flatMap(Int64.init).flatMap {
                $0 > 1 ? .microseconds($0 / 2) : nil
            } : nil
    }

    static func variable(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// Ready, after the addresses are bound and the queue is open.
    ///
    /// - Parameter isSuccessor: the service was another process before.
    func ready(_ status: String, isSuccessor: Bool = false) {
        let process = isSuccessor ? "MAINPID=\(getpid())\n" : ""
        send("\(process)READY=1\nSTATUS=\(status)")
    }

    /// SIGHUP came; `ready(_:)` follows. The time is for units of `Type=notify-reload`.
    func reloading() {
        var now = timespec()
        // Safe because `now` is a local of the right type.
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        send("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)")
    }

    func stopping() { send("STOPPING=1\nSTATUS=draining") }

    func alive() { send("WATCHDOG=1") }

    /// One datagram; whoever doesn't listen misses it.
    private func send(_ state: String) {
        guard let socketPath, let first = socketPath.utf8.first else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(socketPath.utf8)
        // An abstract name.
        if first == UInt8(ascii: "@") { name[0] = 0 }
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard name.count < capacity else { return }
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        // Safe because the name is shorter than the field, and the length is what is filled.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
        let length = MemoryLayout<sa_family_t>.size + name.count + (name[0] == 0 ? 0 : 1)
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                _ = unsafe state.withCString { text in
                    unsafe sendto(
                        descriptor, text, strlen(text), Int32(MSG_DONTWAIT | MSG_NOSIGNAL), pointer,
                        socklen_t(length))
                }
            }
        }
    }

    /// The sockets of a unit like `elemta.socket`, which stay bound while the server is restarted.
    ///
    /// - Throws: when one is no listening TCP socket.
    static func inheritedSockets(
        environment: (String) -> String? = variable
    ) throws(ReactorError) -> [ListeningSocket] {
        guard environment("LISTEN_PID") == "\(getpid())",
            let count = environment("LISTEN_FDS").flatMap(Int32.init), (1...1000).contains(count)
        else { return [] }
        // What this process starts isn't meant.
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsafe unsetenv(name) }
        var sockets: [ListeningSocket] = []
        for number in 3..<3 + count {
            sockets.append(try ListeningSocket(adopting: OwnedDescriptor(taking: number)))
        }
        return sockets
    }
}
