import Glibc

extension UsersDocument {
    /// What the file at `path` says. Throws what is wrong with it.
    public static func read(_ path: String) throws(FileErrors) -> UsersDocument {
        try parse(FileContent(path, maximumCount: Users.maximumOctets).octets, path: path)
    }

    /// Has `body` change the file at `path`, which is replaced as a whole: whoever reads it meanwhile
    /// sees the old one or the new one, also after a crash. Two changes at once come one after the
    /// other. Owner, group and mode stay, save that nobody else may read it any more; a new file is
    /// 0600, or 0640 and of `group`.
    ///
    /// - Parameters:
    ///   - isMade: whether a file that isn't there is made; else that is an error.
    ///   - group: the group that may read a new file; nil: none.
    public static func change<Result>(
        _ path: String, isMade: Bool, group: UInt32? = nil,
        _ body: (inout UsersDocument) throws(UsersFileChangeError) -> Result
    ) throws(UsersFileChangeError) -> Result {
        let file = target(of: path)
        let lock = try DirectoryLock(folder(of: file))
        var status = stat()
        let exists = unsafe stat(file, &status) == 0
        var document = UsersDocument()
        if exists || !isMade {
            do throws(FileErrors) {
                document = try read(file)
            } catch {
                throw .unreadable(error)
            }
        }
        let result = try body(&document)
        let octets = document.octets
        do throws(FileErrors) {
            // What the server wouldn't read isn't written.
            _ = try parse(octets, path: path)
        } catch {
            throw .unreadable(error)
        }
        try write(octets, to: file, like: exists ? status : nil, group, lock)
        return result
    }

    /// The file itself where `path` is a symbolic link, which is to stay one.
    private static func target(of path: String) -> String {
        guard let resolved = unsafe realpath(path, nil) else { return path }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func write(
        _ octets: [UInt8], to path: String, like old: stat?, _ group: UInt32?,
        _ lock: borrowing DirectoryLock
    ) throws(UsersFileChangeError) {
        let temporary = "\(path).new-\(getpid())"
        let descriptor = unsafe open(
            temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("create", temporary) }
        var isMoved = false
        defer {
            close(descriptor)
            if !isMoved { unsafe unlink(temporary) }
        }
        if let old {
            guard fchown(descriptor, old.st_uid, old.st_gid) == 0,
                fchmod(descriptor, old.st_mode & 0o770 & ~0o110) == 0
            else { throw failure("keep the owner of", temporary) }
        } else if let group {
            guard fchown(descriptor, geteuid(), group) == 0, fchmod(descriptor, 0o640) == 0
            else { throw failure("give its group to", temporary) }
        }
        var rest = octets[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { buffer in
                // Safe because the buffer is the array's, for as long as the call lasts.
                unsafe Glibc.write(descriptor, buffer.baseAddress, buffer.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("write", temporary) }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0 else { throw failure("write", temporary) }
        guard unsafe rename(temporary, path) == 0 else { throw failure("replace", path) }
        isMoved = true
        guard lock.sync() else { throw failure("write the folder of", path) }
    }

    fileprivate static func failure(_ verb: String, _ path: String) -> UsersFileChangeError {
        // Safe because strerror returns a C string that stays until the next call on this thread.
        unsafe .unwritable("cannot \(verb) \(path): \(String(cString: strerror(errno)))")
    }
}

/// A folder in which one process at a time replaces files (flock(2) on the folder, which leaves
/// nothing behind).
private struct DirectoryLock: ~Copyable {
    private let descriptor: Int32

    init(_ path: String) throws(UsersFileChangeError) {
        descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw UsersDocument.failure("open the folder", path) }
        while flock(descriptor, LOCK_EX) != 0, errno == EINTR {}
    }

    func sync() -> Bool { fsync(descriptor) == 0 }

    deinit { close(descriptor) }
}
