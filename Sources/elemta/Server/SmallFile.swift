import Glibc

/// Small text files of the system, read whole: /proc and the like.
enum SmallFile {
    /// At most 1 MiB of `path`; nil when it can't be read.
    static func read(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while content.count < 1 << 20 {
            let count = Descriptors.read(descriptor, into: &buffer)
            guard count > 0 else { break }
            content.append(contentsOf: buffer[..<count])
        }
        return String(decoding: content, as: UTF8.self)
    }

    static func lines(of path: String) -> [Substring] {
        (read(path) ?? "").split(separator: "\n")
    }

    /// What lies in a directory, in no order; empty when it can't be read.
    static func names(in directory: String) -> [String] {
        guard let stream = unsafe opendir(directory) else { return [] }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        // Safe because an entry is copied before the next is read, and its name ends with a NUL.
        while let entry = unsafe readdir(stream) {
            names.append(
                unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                    unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) {
                        unsafe String(cString: $0)
                    }
                })
        }
        return names.filter { $0 != "." && $0 != ".." }
    }
}
