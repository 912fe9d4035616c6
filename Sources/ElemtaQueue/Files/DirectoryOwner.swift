import Glibc

/// Whose a directory is and who we are: what an operator looks up first when a directory refuses us.
enum DirectoryOwner {
    /// What follows the error: empty unless it is one of permissions.
    static func hint(at path: String, after error: FileError) -> String {
        guard error.code == EACCES || error.code == EPERM else { return "" }
        var place = path
        var status = stat()
        // What isn't there yet would be made in the directory above; into one that is closed to us we
        // can't look.
        while unsafe stat(place, &status) != 0 {
            let above = parent(of: place)
            guard above != place else { return "; we are user \(name(of: geteuid()))" }
            place = above
        }
        let mode = String(status.st_mode & 0o7777, radix: 8)
        return "; \(place) is of user \(name(of: status.st_uid)) with mode \(mode), "
            + "and we are user \(name(of: geteuid()))"
    }

    private static func parent(of path: String) -> String {
        let trimmed = path.reversed().drop { $0 == "/" }
        let parent = String(trimmed.drop { $0 != "/" }.drop { $0 == "/" }.reversed())
        return parent.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : parent
    }

    /// `elemta (1001)`, or the number alone where it has no name.
    private static func name(of user: uid_t) -> String {
        var entry = unsafe passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16_384)
        // Safe because the buffer is as long as is told, and the name is copied while it is there.
        let name = unsafe buffer.withUnsafeMutableBufferPointer { buffer -> String? in
            guard let start = buffer.baseAddress,
                unsafe getpwuid_r(user, &entry, start, buffer.count, &found) == 0,
                unsafe found != nil, let name = unsafe entry.pw_name
            else { return nil }
            return unsafe String(cString: name)
        }
        return name.map { "\($0) (\(user))" } ?? "\(user)"
    }
}
