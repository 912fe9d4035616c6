import Glibc

/// The process that listens on a TCP port already, as far as /proc shows it to us: what belongs to
/// other users it shows to root alone.
struct PortOwner: CustomStringConvertible {
    let process: pid_t
    let name: String

    var description: String { "process \(process) (\(name)) listens there" }

    /// Nil when nobody listens, or nobody who can be named.
    init?(of port: UInt16) {
        let sockets = Self.listeningSockets(on: port)
        guard !sockets.isEmpty else { return nil }
        let processes = SmallFile.names(in: "/proc").compactMap { pid_t($0) }.sorted()
        for process in processes {
            let descriptors = "/proc/\(process)/fd"
            let isOwner = SmallFile.names(in: descriptors).contains { name in
                Self.target(of: "\(descriptors)/\(name)").map(sockets.contains) ?? false
            }
            guard isOwner else { continue }
            self.process = process
            // Any process can name itself as it likes.
            name = String(
                String.UnicodeScalarView(
                    (SmallFile.read("/proc/\(process)/comm") ?? "?").unicodeScalars
                        .filter(\.isHarmless)))
            return
        }
        return nil
    }

    /// `socket:[INODE]` of each, as /proc/PID/fd writes it: proc_net_tcp(5).
    private static func listeningSockets(on port: UInt16) -> Set<String> {
        var sockets: Set<String> = []
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in SmallFile.lines(of: table).dropFirst() {
                let fields = line.split(separator: " ")
                // 0A is TCP_LISTEN; the tenth field is the inode.
                guard fields.count > 9, fields[3] == "0A",
                    let digits = fields[1].split(separator: ":").last,
                    UInt16(digits, radix: 16) == port
                else { continue }
                sockets.insert("socket:[\(fields[9])]")
            }
        }
        return sockets
    }

    private static func target(of link: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 64)
        // Safe because at most the buffer's length is written into it.
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return 0 }
            return unsafe readlink(link, start, bytes.count)
        }
        return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
    }
}
