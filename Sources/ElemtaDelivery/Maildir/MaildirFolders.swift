import ElemtaQueue
import ElemtaReactor
import ElemtaThreads
import Glibc

/// Sees to it that a maildir is there, and would be after a power loss. Any thread; blocks.
final class MaildirFolders: Sendable {
    /// Folders remembered; with one more all are forgotten, which costs a few syncs.
    private static let maximumCount = 10_000
    /// A day after it was seen to, a maildir is seen to again.
    private static let validity = Duration.seconds(86_400)
    /// How long a file may be on its way through `tmp`, by the maildir convention.
    static let temporaryAge = 36 * 3_600

    private let seen = Locked<[String: MonotonicTime]>([:])

    /// Makes what is missing of `root`/`components`/{tmp,new,cur}, each 0700, and never `root`. Returns
    /// the maildir's path. Throws `ENOENT` when `root` isn't there, and `EPERM` for what somebody else may
    /// exchange for a symbolic link: mail is written, and old files are removed, through these paths.
    func prepare(_ components: [String], below root: String) throws(FileError) -> String {
        var path = root == "/" ? "" : root
        let whole = path + components.map { "/" + $0 }.joined()
        let now = MonotonicTime.now
        if seen.withLock({ $0[whole].map { now < $0 + Self.validity } ?? false }) { return whole }
        // That a folder is there doesn't mean that its name is on disk: whoever made it may have
        // died before the sync. So all are synced once, from the root down.
        for component in components {
            try FileSystem.makeDirectory("\(path)/\(component)")
            try FileSystem.syncDirectory(path.isEmpty ? "/" : path)
            path += "/\(component)"
            try requireOwn(path)
        }
        for folder in ["tmp", "new", "cur"] {
            try FileSystem.makeDirectory("\(path)/\(folder)")
            try requireOwn("\(path)/\(folder)")
        }
        try FileSystem.syncDirectory(path)
        sweep("\(path)/tmp")
        seen.withLock {
            if $0.count >= Self.maximumCount { $0 = [:] }
            $0[whole] = now
        }
        return whole
    }

    /// A directory of ours that nobody else writes into.
    private func requireOwn(_ path: String) throws(FileError) {
        var status = stat()
        // Safe because `status` is a local of the right type.
        guard unsafe lstat(path, &status) == 0 else {
            throw FileError(operation: "lstat \(path)", code: errno)
        }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
            status.st_mode & 0o022 == 0
        else {
            throw FileError(
                operation: "\(path) isn't a folder of the server's own user alone", code: EPERM)
        }
    }

    /// The maildir turned out to be gone.
    func forget(_ path: String) { seen.withLock { $0[path] = nil } }

    /// Removes what somebody left in `tmp` on his way to death. What can't be removed stays.
    private func sweep(_ folder: String) {
        guard let names = try? FileSystem.names(in: folder) else { return }
        let latest = time(nil) - Self.temporaryAge
        for name in names {
            var status = stat()
            let path = "\(folder)/\(name)"
            // Safe because `status` is a local of the right type.
            guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
                max(status.st_mtim.tv_sec, status.st_atim.tv_sec) < latest
            else { continue }
            try? FileSystem.remove(path)
        }
    }
}
