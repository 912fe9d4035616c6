import Glibc

/// A folder of one test's own, removed with what is in it when the test lets go of it.
final class TemporaryFolder {
    struct Failure: Error {
        let code: Int32
    }

    let path: String

    init() throws(Failure) {
        var template = Array("/tmp/elemta-authentication-XXXXXX".utf8CString)
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
        // What a server left in it too.
        _ = try? Program(["/bin/rm", "-rf", path]).awaitEnd()
    }

    /// Puts a file there in one step, as an editor or `elemta user` does, and answers its path.
    @discardableResult
    func file(_ name: String, _ text: String, mode: mode_t = 0o600) throws(Failure) -> String {
        try file(name, octets: Array(text.utf8), mode: mode)
    }

    @discardableResult
    func file(_ name: String, octets: [UInt8], mode: mode_t = 0o600) throws(Failure) -> String {
        let temporary = "\(path)/\(name).new"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw Failure(code: errno) }
        let written = unsafe octets.withUnsafeBytes {
            unsafe write(descriptor, $0.baseAddress, $0.count)
        }
        close(descriptor)
        guard written == octets.count, unsafe rename(temporary, "\(path)/\(name)") == 0 else {
            throw Failure(code: errno)
        }
        return "\(path)/\(name)"
    }
}
