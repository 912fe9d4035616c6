import Glibc

/// The largest configuration file read, in octets: 1 MiB.
let maximumFileSize = 1 << 20

/// Whether there is something at `path`. A thing that cannot be looked at exists: skipping it would
/// start the server with another configuration than the one that was meant.
func fileExists(_ path: String) -> Bool {
    var status = stat()
    if unsafe stat(path, &status) == 0 { return true }
    return errno != ENOENT && errno != ENOTDIR
}

/// Reads a configuration file, or says why not.
///
/// Only a regular file is read: O_NONBLOCK keeps a FIFO without a writer from blocking the start,
/// and a device could deliver octets for ever.
func readConfigurationFile(_ path: String) throws(ConfigurationErrors) -> [UInt8] {
    func refusal(_ text: String) -> ConfigurationErrors {
        let problem = ConfigurationProblem(.file(path, line: nil), text)
        return ConfigurationErrors(problems: [problem], warnings: [])
    }
    let descriptor = unsafe open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else { throw refusal("cannot be read: \(errorText(errno))") }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
        throw refusal("cannot be read: \(errorText(errno))")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
        throw refusal("is \(kindName(status.st_mode)); allowed: a file")
    }
    let limit = "allowed: at most \(maximumFileSize) octets"
    guard status.st_size <= maximumFileSize else {
        throw refusal("holds \(status.st_size) octets; \(limit)")
    }
    // One octet more than allowed is asked for: files in /proc say 0 and hold anything.
    var octets: [UInt8] = []
    while octets.count <= maximumFileSize {
        var piece = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe piece.withUnsafeMutableBytes { buffer in
            // Safe because the buffer is the array's, for as long as the call lasts.
            unsafe read(descriptor, buffer.baseAddress, buffer.count)
        }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw refusal("cannot be read: \(errorText(errno))") }
        if count == 0 { return octets }
        octets.append(contentsOf: piece.prefix(count))
    }
    throw refusal("holds more than allowed; \(limit)")
}

private func kindName(_ mode: mode_t) -> String {
    switch mode & S_IFMT {
    case S_IFDIR: "a directory"
    case S_IFIFO: "a FIFO"
    case S_IFSOCK: "a socket"
    case S_IFCHR, S_IFBLK: "a device"
    default: "no regular file"
    }
}

private func errorText(_ code: Int32) -> String {
    // Safe because strerror returns a C string that stays until the next call on this thread.
    unsafe String(cString: strerror(code))
}

/// What `gethostname(2)` says; nil when it fails.
func systemHostname() -> String? {
    // HOST_NAME_MAX is 64 on Linux; a longer name would come without its final NUL.
    let capacity = 256
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity + 1) {
        buffer -> String? in
        // Safe because the octet behind what gethostname may write is NUL.
        unsafe buffer.initialize(repeating: 0)
        guard let start = buffer.baseAddress, unsafe gethostname(start, capacity) == 0
        else { return nil }
        return unsafe String(cString: start)
    }
}
