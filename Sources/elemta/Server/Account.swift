import ElemtaConfiguration
import ElemtaQueue
import Glibc

/// The user that the server becomes once it has bound its ports: the key `user`.
struct Account {
    let name: String
    let user: uid_t
    let group: gid_t

    /// Why the server can't become the user.
    enum Failure: Error, CustomStringConvertible {
        case unknown(String)
        /// Only root becomes somebody else.
        case notRoot(String)
        case directory(SpoolError)
        case system(String)

        var description: String {
            switch self {
            case .unknown(let name): "user: there is no user \(name.debugDescription)"
            case .notRoot(let name):
                "user: only root can become \(name); start elemta as root or as \(name)"
            case .directory(let error): "\(error)"
            case .system(let text): "user: \(text)"
            }
        }
    }

    /// Nil when the process is who it is to be already, or nobody in particular is named.
    ///
    /// - Throws: `.unknown`, `.notRoot`.
    init?(_ name: String?) throws(Failure) {
        guard let name else { return nil }
        var entry = unsafe passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16_384)
        // Safe because the buffer is as long as is told, and only the two numbers are kept.
        let ids = unsafe buffer.withUnsafeMutableBufferPointer { buffer -> (uid_t, gid_t)? in
            guard let start = buffer.baseAddress,
                unsafe getpwnam_r(name, &entry, start, buffer.count, &found) == 0,
                unsafe found != nil
            else { return nil }
            return unsafe (entry.pw_uid, entry.pw_gid)
        }
        guard let ids else { throw .unknown(name) }
        self.name = name
        (user, group) = ids
        if geteuid() == user { return nil }
        guard geteuid() == 0 else { throw .notRoot(name) }
    }

    /// The user that a file or directory belongs to; nil: there is none, or it can't be looked at.
    static func owner(of path: String) -> uid_t? {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? status.st_uid : nil
    }

    /// Gives the queue's directory and the log's file to the user, before either is opened.
    func prepare(_ configuration: Configuration) throws(Failure) {
        do throws(SpoolError) {
            if !configuration.devMode {
                try QueueLock.give(configuration.queueDir, toUser: user, group: group)
            }
        } catch {
            throw .directory(error)
        }
        if let path = configuration.logging.file { try giveLog(path) }
    }

    /// Makes the file, and its folder, where they aren't there.
    private func giveLog(_ path: String) throws(Failure) {
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            let folder = String(path[..<slash])
            if unsafe mkdir(folder, 0o750) == 0 { _ = unsafe chown(folder, user, group) }
        }
        let descriptor = unsafe open(
            path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw .system("\(path): \(lastErrorText())") }
        defer { close(descriptor) }
        var status = stat()
        // A terminal or a pipe belongs to whoever it belongs to; a second name of a file may be
        // somebody's trick.
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_nlink == 1, status.st_uid != user
        else { return }
        guard fchown(descriptor, user, group) == 0 else {
            throw .system("\(path): \(lastErrorText())")
        }
    }

    /// Becomes the user, for good: all threads, with the user's groups and none of root's.
    func become() throws(Failure) {
        guard unsafe initgroups(name, group) == 0, setgid(group) == 0, setuid(user) == 0 else {
            throw .system("cannot become \(name): \(lastErrorText())")
        }
        guard setuid(0) != 0, geteuid() == user, getegid() == group else {
            throw .system("root's rights could not be given up")
        }
    }

    /// Why the log's file can't be opened anew once it was moved away; nil where it can.
    func problemOfRotation(_ configuration: Configuration) -> String? {
        guard let path = configuration.logging.file else { return nil }
        var folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        if folder.isEmpty { folder = "/" }
        guard !mayChange(folder) else { return nil }
        return "logging.file: the user \(name) can't make a file in \(folder): moved away by "
            + "logrotate, \(path) is not made anew"
    }

    /// Whether the mode of a folder lets the user make files in it; true when it isn't there.
    private func mayChange(_ folder: String) -> Bool {
        var status = stat()
        guard unsafe stat(folder, &status) == 0 else { return true }
        let wanted: mode_t =
            if status.st_uid == user {
                S_IWUSR | S_IXUSR
            } else if groups.contains(status.st_gid) {
                S_IWGRP | S_IXGRP
            } else {
                S_IWOTH | S_IXOTH
            }
        return status.st_mode & wanted == wanted
    }

    /// Whether the mode of the file at `path` lets the user read it; true when it isn't there. Folders
    /// on the way and access control lists aren't looked at.
    func canRead(_ path: String) -> Bool {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return true }
        if status.st_uid == user { return status.st_mode & S_IRUSR != 0 }
        if groups.contains(status.st_gid) { return status.st_mode & S_IRGRP != 0 }
        return status.st_mode & S_IROTH != 0
    }

    /// The user's group and those that it is a member of.
    private var groups: [gid_t] {
        var count: Int32 = 1_024
        var found = [gid_t](repeating: group, count: Int(count))
        // Safe because the list is as long as is told; no more than that is written.
        guard unsafe getgrouplist(name, group, &found, &count) >= 0 else { return [group] }
        return Array(found.prefix(Int(count)))
    }
}
