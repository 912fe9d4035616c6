import Glibc

/// Has a write to somebody who is gone fail with `EPIPE`, where `SIGPIPE` would end the process.
func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
}

/// Blocking I/O on descriptors, for threads that may block and for the command line.
enum Descriptors {
    static let standardOutput = STDOUT_FILENO
    static let standardError = STDERR_FILENO

    /// Writes everything; false when the other side is gone or the disk is full.
    @discardableResult
    static func writeAll(_ octets: [UInt8], to descriptor: Int32) -> Bool {
        write(octets, to: descriptor).error == nil
    }

    /// Writes everything; else the errno that kept it from that.
    static func writeError(of octets: [UInt8], to descriptor: Int32) -> Int32? {
        write(octets, to: descriptor).error
    }

    /// Writes as much as goes; the errno says why that isn't all.
    static func write(_ octets: [UInt8], to descriptor: Int32) -> (count: Int, error: Int32?) {
        var written = 0
        while written < octets.count {
            // Safe because the buffer is used inside the closure only, from `written` to its end.
            let count = unsafe octets.withUnsafeBytes { buffer in
                unsafe Glibc.write(
                    descriptor, buffer.baseAddress?.advanced(by: written), buffer.count - written)
            }
            let code = errno
            if count < 0 && code == EINTR { continue }
            guard count > 0 else { return (written, count < 0 ? code : EIO) }
            written += count
        }
        return (written, nil)
    }

    /// Hands `count` octets of a file, from `offset` on, to `body` in pieces, until it returns
    /// false. False when the file can't be read that far.
    static func forEachPiece(
        of path: String, from offset: Int, count: Int, _ body: ([UInt8]) -> Bool
    ) -> Bool {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        guard lseek(descriptor, offset, SEEK_SET) == offset else { return false }
        var rest = count
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while rest > 0 {
            let length = read(descriptor, into: &buffer)
            guard length > 0 else { return false }
            guard body(Array(buffer.prefix(min(length, rest)))) else { return true }
            rest -= length
        }
        return true
    }

    /// Waits until something can be read, the end and an error among it; false when `time` is over.
    static func waitForInput(on descriptor: Int32, within time: Duration) -> Bool {
        let clock = ContinuousClock()
        let end = clock.now + time
        while true {
            let rest = max(end - clock.now, .zero).components
            let milliseconds = rest.seconds * 1_000 + rest.attoseconds / 1_000_000_000_000_000
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            // Safe because `entry` is one local of the right type.
            let count = unsafe poll(&entry, 1, Int32(clamping: milliseconds))
            if count > 0 { return true }
            // A signal comes in between.
            guard count < 0, errno == EINTR else { return count < 0 }
        }
    }

    /// Reads what is there into `buffer`; 0 at the end, -1 on an error.
    static func read(_ descriptor: Int32, into buffer: inout [UInt8]) -> Int {
        // Safe because at most `buffer.count` octets are written into `buffer`.
        unsafe buffer.withUnsafeMutableBytes { bytes in
            while true {
                let count = unsafe Glibc.read(descriptor, bytes.baseAddress, bytes.count)
                if count < 0 && errno == EINTR { continue }
                return count
            }
        }
    }
}
