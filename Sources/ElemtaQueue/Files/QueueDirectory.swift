import CLMDB
import Glibc

/// `queue_dir`: where everything lies, and the lock that makes one process its only user.
struct QueueDirectory: ~Copyable {
    let path: String
    private let lock: QueueLock

    /// Makes the directory (0700) and what belongs in it, and locks it.
    init(_ path: String, allowNetworkFileSystem: Bool) throws(SpoolError) {
        try QueueLock.makeDirectory(path)
        if !allowNetworkFileSystem, let name = Self.networkFileSystem(at: path) {
            throw .networkFileSystem(name)
        }
        let lock = try QueueLock(made: path)
        do throws(FileError) {
            for name in ["content", "quarantine"] {
                try FileSystem.makeDirectory("\(path)/\(name)")
            }
            try FileSystem.syncDirectory(path)
        } catch {
            throw .directory(error.description)
        }
        self.path = path
        self.lock = lock
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
