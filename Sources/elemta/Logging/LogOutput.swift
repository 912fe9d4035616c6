import Glibc

/// Standard output, as the log's thread writes it.
///
/// The thread waits for its reader, also where somebody with whom we share a terminal or a pipe has
/// made it non-blocking.
struct LogOutput {
    private let descriptor: Int32
    /// The last line in it has no end.
    private var isTorn = false

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Writes whole lines. Returns how many were lost.
    mutating func write(_ lines: [UInt8]) -> Int {
        guard !lines.isEmpty else { return 0 }
        let end = isTorn ? [lineEnd] : []
        let octets = end + lines
        var written = 0
        while written < octets.count {
            let (count, error) = Descriptors.write(Array(octets[written...]), to: descriptor)
            written += count
            if let error, error != EAGAIN || !awaitsReader() { break }
        }
        if written > 0 { isTorn = octets[written - 1] != lineEnd }
        return octets[max(written, end.count)...].count { $0 == lineEnd }
    }

    /// False when nobody can tell when there is room.
    private func awaitsReader() -> Bool {
        var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        // Safe because one structure is handed over, and counted as one.
        while unsafe poll(&wanted, 1, -1) < 0 {
            guard errno == EINTR else { return false }
        }
        return true
    }

    private var lineEnd: UInt8 { UInt8(ascii: "\n") }
}
