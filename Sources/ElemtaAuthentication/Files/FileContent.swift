import Glibc

/// What tells one state of a file from another without reading it.
struct FileStamp: Equatable, Sendable {
    private let device: UInt
    private let inode: UInt
    private let size: Int
    private let modified: [Int]

    /// Nil when there is nothing at `path`, or nothing that can be looked at.
    init?(of path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    init(_ status: stat) {
        device = status.st_dev
        inode = status.st_ino
        size = status.st_size
        // The change time too: `cp -p` and `touch -d` set the other one back.
        modified = [
            status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
            status.st_ctim.tv_nsec,
        ]
    }
}

/// A file of ours, read whole.
struct FileContent {
    let octets: [UInt8]
    let stamp: FileStamp
    let isReadByEverybody: Bool

    /// Only a regular file is read: O_NONBLOCK keeps a FIFO without a writer from holding the
    /// thread, and a device could deliver octets for ever.
    init(_ path: String, maximumCount: Int) throws(FileErrors) {
        func refusal(_ text: String) -> FileErrors {
            FileErrors(
                problems: [FileProblem(path: path, line: nil, user: nil, text: text)])
        }
        let descriptor = unsafe open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard descriptor >= 0 else { throw refusal("cannot be read: \(errorText(errno))") }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            throw refusal("cannot be read: \(errorText(errno))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw refusal("is no file") }
        stamp = FileStamp(status)
        isReadByEverybody = status.st_mode & S_IROTH != 0
        var octets: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while octets.count <= maximumCount {
            let count = unsafe piece.withUnsafeMutableBytes { buffer in
                // Safe because the buffer is the array's, for as long as the call lasts.
                unsafe read(descriptor, buffer.baseAddress, buffer.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw refusal("cannot be read: \(errorText(errno))") }
            if count == 0 {
                self.octets = octets
                return
            }
            octets.append(contentsOf: piece.prefix(count))
        }
        throw refusal("is too large; allowed: at most \(maximumCount) octets")
    }
}

private func errorText(_ code: Int32) -> String {
    // Safe because strerror returns a C string that stays until the next call on this thread.
    unsafe String(cString: strerror(code))
}
