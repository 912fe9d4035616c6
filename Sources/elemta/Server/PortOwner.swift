import Glibc

/// The process that has a TCP port already, as far as /proc shows it to us: what belongs to
/// other users it shows to root alone.
struct PortOwner: CustomStringConvertible {
    let process: pid_t
    let name: String
    /// Else it has a connection from there.
    private let isListening: Bool

    var description: String {
        "process \(process) (\(name)) \(isListening ? "listens there" : "has a connection from there")"
    }

    /// Nil when nobody has it who can be named.
    init?(of port: UInt16) {
        let listening = Self.sockets(on: port, listening: true)
        isListening = !listening.isEmpty
        let sockets = isListening ? listening : Self.sockets(on: port, listening: false)
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
    private static func sockets(on port: UInt16, listening: Bool) -> Set<String> {
        var sockets: Set<String> = []
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in SmallFile.lines(of: table).dropFirst() {
                let fields = line.split(separator: " ")
                // 0A is TCP_LISTEN; the tenth field is the inode, 0 where nobody has the socket any more.
                guard fields.count > 9, (fields[3] == "0A") == listening, fields[9] != "0",
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
