import Glibc

extension QueueLock {
    /// Makes the directory unless it is there, and gives it with all that lies in it to another user,
    /// who will open it. Takes root.
    ///
    /// Symbolic links, files with several names and directories deeper than the queue has them are left
    /// alone: whoever owned the directory before can't have more given away than what is in it. `path`
    /// itself may be a symbolic link, such as one to another disk; what is looked at is given.
    ///
    /// - Throws: `.directory`; among other things for a directory that isn't a queue's.
    public static func give(_ path: String, toUser user: UInt32, group: UInt32) throws(SpoolError) {
        try QueueDirectory.make(path)
        do throws(FileError) {
            let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard descriptor >= 0 else { throw FileError(operation: "open \(path)", code: errno) }
            defer { close(descriptor) }
            // The path may lead elsewhere by now.
            if let name = try QueueDirectory.foreignName(in: "/proc/self/fd/\(descriptor)") {
                throw FileError(operation: "\(path) is no queue (\(name))", code: ENOTEMPTY)
            }
            try give(descriptor, path, user, group, depth: 0)
        } catch {
            throw .directory(error.description)
        }
    }

    // Of <fcntl.h> with _GNU_SOURCE, which Swift doesn't see; the same on every Linux machine that Swift
    // runs on.
    private static let pathOnly: Int32 = 0o10_000_000  // O_PATH
    private static let emptyPath: Int32 = 0x1000  // AT_EMPTY_PATH

    /// `queue_dir/content/xx/ID`.
    private static let maximumDepth = 2

    private static func give(
        _ directory: Int32, _ path: String, _ user: uid_t, _ group: gid_t, depth: Int
    ) throws(FileError) {
        for name in try FileSystem.names(in: "/proc/self/fd/\(directory)") {
            var status = stat()
            guard unsafe fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                continue
            }
            switch status.st_mode & S_IFMT {
            case S_IFDIR where depth < maximumDepth:
                let inner = unsafe openat(
                    directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                guard inner >= 0 else { continue }
                defer { close(inner) }
                try give(inner, "\(path)/\(name)", user, group, depth: depth + 1)
            case S_IFREG: try give(name, in: directory, path, user, group)
            default: break
            }
        }
        guard fchown(directory, user, group) == 0 else {
            throw FileError(operation: "chown \(path)", code: errno)
        }
    }

    /// The file that is looked at is the one that is given, whatever its name means meanwhile.
    private static func give(
        _ name: String, in directory: Int32, _ path: String, _ user: uid_t, _ group: gid_t
    ) throws(FileError) {
        let file = unsafe openat(directory, name, pathOnly | O_NOFOLLOW | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        var status = stat()
        guard unsafe fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_nlink == 1, status.st_uid != user
        else { return }
        guard unsafe fchownat(file, "", user, group, emptyPath) == 0 else {
            throw FileError(operation: "chown \(path)/\(name)", code: errno)
        }
    }
}
