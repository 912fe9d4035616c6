import Glibc

/// A folder of one test's own, removed with what is in it when the test lets go of it.
final class TemporaryFolder {
    struct Failure: Error {
        let code: Int32
    }

    let path: String
    private var paths: [String] = []

    init() throws(Failure) {
        var template = Array("/tmp/elemta-configuration-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer -> String? in
            // Safe because the template is NUL-terminated and lives as long as the call.
            guard let start = buffer.baseAddress, let name = unsafe mkdtemp(start) else {
                return nil
            }
            return unsafe String(cString: name)
        }
        guard let made else { throw Failure(code: errno) }
        path = made
    }

    deinit {
        for path in paths { unsafe unlink(path) }
        unsafe rmdir(path)
    }

    /// The path of something that a test is about to make.
    func path(of name: String) -> String {
        paths.append("\(path)/\(name)")
        return "\(path)/\(name)"
    }

    /// Makes a file and answers its path.
    func file(_ name: String, octets: [UInt8]) -> String {
        let full = path(of: name)
        let descriptor = unsafe open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(descriptor) }
        unsafe octets.withUnsafeBytes { _ = unsafe write(descriptor, $0.baseAddress, $0.count) }
        return full
    }
}
