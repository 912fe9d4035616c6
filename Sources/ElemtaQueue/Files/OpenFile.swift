package import Glibc

/// A file operation that failed, with its `errno`.
package struct FileError: Error, Equatable, Sendable, CustomStringConvertible {
    let operation: String
    package let code: Int32

    package init(operation: String, code: Int32) {
        self.operation = operation
        self.code = code
    }

    var isFull: Bool { code == ENOSPC || code == EDQUOT || code == EFBIG }

    package var description: String { "\(operation): \(Self.text(code)) (\(code))" }

    var spoolError: SpoolError {
        if code == EMFILE || code == ENFILE { return .noDescriptors }
        return isFull ? .full : .storage(description)
    }

    private static func text(_ code: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        // Safe because strerror_r writes at most the buffer's size.
        unsafe buffer.withUnsafeMutableBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return }
            _ = unsafe strerror_r(code, start, buffer.count)
        }
        let octets = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: octets, as: UTF8.self)
    }
}

/// An open file descriptor, closed when it goes out of scope. Every call blocks and is tried
/// again after EINTR.
package struct OpenFile: ~Copyable {
    let descriptor: Int32
    let path: String

    package init(
        _ path: String, _ flags: Int32, mode: mode_t = 0o600
    ) throws(FileError) {
        var result: Int32
        repeat {
            result = unsafe open(path, flags | O_CLOEXEC, mode)
        } while result < 0
            && errno == EINTR
        guard result >= 0 else { throw FileError(operation: "open \(path)", code: errno) }
        descriptor = result
        self.path = path
    }

    deinit { close(descriptor) }

    /// Writes all of `octets` at the file's position.
    package func write(_ octets: Span<UInt8>) throws(FileError) {
        // Safe because write only reads the buffer, and only during the call.
        let code: Int32 = unsafe octets.withUnsafeBytes { octets in
            var done = 0
            while done < octets.count {
                let count = unsafe Glibc.write(
                    descriptor, octets.baseAddress.map { unsafe $0 + done }, octets.count - done)
                if count < 0 {
                    if errno == EINTR { continue }
                    return errno
                }
                done += count
            }
            return 0
        }
        guard code == 0 else { throw FileError(operation: "write \(path)", code: code) }
    }

    /// Writes all of `octets` at `offset`.
    func write(_ octets: Span<UInt8>, at offset: Int) throws(FileError) {
        // Safe because pwrite only reads the buffer, and only during the call.
        let code: Int32 = unsafe octets.withUnsafeBytes { octets in
            var done = 0
            while done < octets.count {
                let count = unsafe pwrite(
                    descriptor, octets.baseAddress.map { unsafe $0 + done }, octets.count - done,
                    off_t(offset + done))
                if count < 0 {
                    if errno == EINTR { continue }
                    return errno
                }
                done += count
            }
            return 0
        }
        guard code == 0 else { throw FileError(operation: "write \(path)", code: code) }
    }

    /// As `sync`, without what isn't needed to read the octets again: times. Never again after it failed.
    func syncData() throws(FileError) {
        guard fdatasync(descriptor) == 0 else {
            throw FileError(operation: "fdatasync \(path)", code: errno)
        }
    }

    /// Reads up to `count` octets from `offset`; fewer at the end of the file only.
    package func read(_ count: Int, at offset: Int) throws(FileError) -> [UInt8] {
        var code: Int32 = 0
        let octets = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                // Safe because at most what is left of the buffer is asked for.
                let got = unsafe pread(
                    descriptor, buffer.baseAddress.map { unsafe $0 + filled }, count - filled,
                    off_t(offset + filled))
                if got == 0 { return }
                if got < 0 {
                    if errno == EINTR { continue }
                    code = errno
                    return
                }
                filled += got
            }
        }
        guard code == 0 else { throw FileError(operation: "read \(path)", code: code) }
        return octets
    }

    /// Octets in the file.
    var size: Int {
        get throws(FileError) {
            var status = stat()
            guard unsafe fstat(descriptor, &status) == 0 else {
                throw FileError(operation: "stat \(path)", code: errno)
            }
            return Int(status.st_size)
        }
    }

    /// Makes the file's octets survive a power loss. Never call it again after it failed: the
    /// kernel has forgotten what it could not write.
    package func sync() throws(FileError) {
        guard fsync(descriptor) == 0 else {
            throw FileError(operation: "fsync \(path)", code: errno)
        }
    }

    func truncate(to size: Int) throws(FileError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            throw FileError(operation: "truncate \(path)", code: errno)
        }
    }

    /// Has the file system set blocks aside for `count` octets.
    func allocate(_ count: Int) throws(FileError) {
        let code = posix_fallocate(descriptor, 0, off_t(count))
        guard code == 0 else { throw FileError(operation: "allocate \(path)", code: code) }
    }
}

/// Operations on names.
package enum FileSystem {
    /// Makes a directory (0700) unless it is there.
    ///
    /// - Returns: whether it was made now.
    @discardableResult
    package static func makeDirectory(_ path: String) throws(FileError) -> Bool {
        guard unsafe mkdir(path, 0o700) != 0 else { return true }
        guard errno == EEXIST else { throw FileError(operation: "mkdir \(path)", code: errno) }
        return false
    }

    /// Makes the names in a directory survive a power loss.
    package static func syncDirectory(_ path: String) throws(FileError) {
        let directory = try OpenFile(path, O_RDONLY | O_DIRECTORY)
        try directory.sync()
    }

    /// Removes a file; one that is not there is fine.
    package static func remove(_ path: String) throws(FileError) {
        guard unsafe unlink(path) != 0 else { return }
        guard errno == ENOENT else { throw FileError(operation: "unlink \(path)", code: errno) }
    }

    /// Removes a directory that has nothing in it.
    static func removeDirectory(_ path: String) throws(FileError) {
        guard unsafe rmdir(path) != 0 else { return }
        throw FileError(operation: "rmdir \(path)", code: errno)
    }

    package static func move(_ path: String, to target: String) throws(FileError) {
        guard unsafe rename(path, target) == 0 else {
            throw FileError(operation: "rename \(path)", code: errno)
        }
    }

    /// Whether a directory is one that all users write to, each their own.
    static func isSticky(_ path: String) throws(FileError) -> Bool {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else {
            throw FileError(operation: "stat \(path)", code: errno)
        }
        return status.st_mode & S_ISVTX != 0
    }

    /// The user's name, or the number where nobody has it.
    static func nameOfUser(_ number: uid_t) -> String {
        var entry = unsafe passwd()
        var buffer = [CChar](repeating: 0, count: 16 * 1024)
        return unsafe buffer.withUnsafeMutableBufferPointer { buffer in
            // Safe because the entry points into the buffer, which outlives its use.
            var found: UnsafeMutablePointer<passwd>?
            guard let start = buffer.baseAddress,
                unsafe getpwuid_r(number, &entry, start, buffer.count, &found) == 0,
                unsafe found != nil, let name = unsafe entry.pw_name
            else { return "user \(number)" }
            return unsafe String(cString: name)
        }
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// The names in a directory, without . and ..; none when there is no such directory.
    package static func names(in path: String) throws(FileError) -> [String] {
        guard let directory = unsafe opendir(path) else {
            if errno == ENOENT { return [] }
            throw FileError(operation: "read \(path)", code: errno)
        }
        // Safe because the stream is closed on every way out and entries are copied at once.
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Octets that ordinary users may still write, and octets in all.
    static func room(at path: String) -> (free: UInt64, total: UInt64)? {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else { return nil }
        let unit = UInt64(status.f_frsize)
        return (UInt64(status.f_bavail) * unit, UInt64(status.f_blocks) * unit)
    }
}
