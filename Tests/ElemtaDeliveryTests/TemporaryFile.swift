import Glibc

/// A file that is gone with its owner.
final class TemporaryFile: Sendable {
    let path: String
    let octets: [UInt8]

    struct Unwritable: Error {}

    init(_ octets: [UInt8]) throws {
        self.octets = octets
        var name = Array("/tmp/elemta-delivery-XXXXXX\0".utf8CString)
        // Safe because mkstemp writes the six letters in place and nothing beyond.
        let number = unsafe name.withUnsafeMutableBufferPointer { buffer -> Int32 in
            guard let start = buffer.baseAddress else { return -1 }
            return unsafe mkstemp(start)
        }
        path = String(
            decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // Safe because the buffer is the array's own.
        let written = unsafe octets.withUnsafeBytes {
            unsafe write(number, $0.baseAddress, $0.count)
        }
        close(number)
        guard written == octets.count else { throw Unwritable() }
    }

    deinit { unsafe unlink(path) }
}

/// A directory that is gone when it's told to.
struct TemporaryDirectory {
    let path: String

    init() throws {
        var name = Array("/tmp/elemta-delivery-XXXXXX\0".utf8CString)
        // Safe because mkdtemp writes the six letters in place and nothing beyond.
        let isMade = unsafe name.withUnsafeMutableBufferPointer { buffer -> Bool in
            guard let start = buffer.baseAddress else { return false }
            return unsafe mkdtemp(start) != nil
        }
        guard isMade else { throw TemporaryFile.Unwritable() }
        path = String(
            decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// With all that is in it.
    func remove() { Self.remove(path) }

    static func remove(_ path: String) {
        if let directory = unsafe opendir(path) {
            while let entry = unsafe readdir(directory) {
                // Safe because the name ends with a NUL and is read before the next readdir.
                let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    unsafe String(
                        cString: UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))
                }
                if name == "." || name == ".." { continue }
                let inner = "\(path)/\(name)"
                if unsafe unlink(inner) != 0 { remove(inner) }
            }
            unsafe closedir(directory)
        }
        unsafe rmdir(path)
    }
}
