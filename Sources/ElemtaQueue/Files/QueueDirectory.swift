import CLMDB
import Glibc

/// `queue_dir`: where everything lies, and the lock that makes one process its only user; who only
/// looks takes none, and keeps nobody from anything.
struct QueueDirectory: ~Copyable {
    let path: String
    /// Nil for who only looks.
    private let lock: QueueLock?

    /// Locks the directory. Where mail is to be served it is made (0700) before, with what belongs
    /// in it; what was made, and what a process that died may have made, is synced.
    init(
        _ path: String, for purpose: SpoolPurpose, allowNetworkFileSystem: Bool
    ) throws(SpoolError) {
        if purpose != .serving { try Self.checkAccess(path) }
        if purpose == .looking {
            try QueueLock.checkIsFree(path)
            lock = nil
            self.path = path
            return
        }
        try Self.make(path)
        if !allowNetworkFileSystem, let name = Self.networkFileSystem(at: path) {
            throw .networkFileSystem(name)
        }
        let lock = try QueueLock(made: path)
        do throws(FileError) {
            try Compaction.removeLeftovers(in: path)
            for name in ["content", "quarantine"] {
                try FileSystem.makeDirectory("\(path)/\(name)")
            }
            try FileSystem.syncDirectory(path)
        } catch {
            throw .directory(error.description + DirectoryOwner.hint(at: path, after: error))
        }
        self.path = path
        self.lock = consume lock
    }

    /// Throws unless there is a queue that this user may look into.
    private static func checkAccess(_ path: String) throws(SpoolError) {
        guard unsafe access(path + "/spool.mdb", R_OK) != 0 else { return }
        guard errno == EACCES else { throw .noQueue(path) }
        throw .noAccess(to: path)
    }

    /// Makes the directory unless it is there, and closes it to everybody else.
    static func make(_ path: String) throws(SpoolError) {
        do throws(FileError) {
            let isNew = try FileSystem.makeDirectory(path)
            // /tmp and its kin must stay as they are.
            guard try !FileSystem.isSticky(path) else {
                throw FileError(operation: "\(path) belongs to everybody", code: EPERM)
            }
            if let name = try Self.foreignName(in: path) {
                throw FileError(
                    operation: "\(path) is neither empty nor a queue (there is \"\(name)\" in it): "
                        + "queue_dir has to be a directory of its own", code: ENOTEMPTY)
            }
            // A directory made by hand may be open to others: what is in it is people's mail.
            guard unsafe chmod(path, 0o700) == 0 else {
                throw FileError(operation: "chmod \(path)", code: errno)
            }
            try syncName(of: path, isNew: isNew)
        } catch {
            throw .directory(error.description + DirectoryOwner.hint(at: path, after: error))
        }
    }

    /// Makes the directory's own name survive a power loss. Who made the directory can read the one
    /// above it or must not promise anything; later on it may be closed to us.
    private static func syncName(of path: String, isNew: Bool) throws(FileError) {
        do throws(FileError) {
            try FileSystem.syncDirectory(path + "/..")
        } catch {
            if isNew || error.code != EACCES { throw error }
        }
    }

    // MARK: - What lies there

    /// What we put into `queue_dir`.
    private static let ownNames: Set<String> = [
        "clean", Compaction.name, "content", "control.sock", "journal", "lock", "quarantine",
        "reserve",
        "salvaged.mdb",
        "salvaged.mdb-lock", "spool.mdb", "spool.mdb-lock",
    ]
    /// What lies in a directory that is as good as empty: a file system of its own, a folder of a
    /// repository, logs that were begun before the queue.
    private static let harmlessNames: Set<String> = [
        "lost+found", ".snapshot", ".keep", ".gitkeep", ".gitignore", "logs",
    ]

    /// Something in a directory without a spool that says that the directory is somebody else's.
    static func foreignName(in path: String) throws(FileError) -> String? {
        let names = try FileSystem.names(in: path)
        if names.contains("spool.mdb") { return nil }
        return names.sorted().first {
            !ownNames.contains($0) && !harmlessNames.contains($0) && !$0.hasSuffix(".log")
        }
    }

    /// The name of a file system whose locks, maps or syncs aren't those of a local disk.
    private static func networkFileSystem(at path: String) -> String? {
        var status = statfs()
        guard unsafe statfs(path, &status) == 0 else { return nil }
        // Magic numbers from statfs(2) and linux/magic.h.
        return switch UInt32(truncatingIfNeeded: status.f_type) {
        case 0x6969: "NFS"
        case 0x517B, 0xFF53_4D42, 0xFE53_4D42: "SMB"
        case 0x0102_1997: "9p"
        case 0x6573_5546: "FUSE"
        case 0x5346_414F, 0x6B41_4653: "AFS"
        case 0x7375_7245: "Coda"
        case 0x564C: "NCP"
        case 0x00C3_6400: "Ceph"
        case 0x0BD0_0BD0: "Lustre"
        case 0x4750_4653: "GPFS"
        default: nil
        }
    }
}
