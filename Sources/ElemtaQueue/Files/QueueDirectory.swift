import CLMDB
import Glibc

/// `queue_dir`: where everything lies, and the lock that makes one process its only user.
struct QueueDirectory: ~Copyable {
    let path: String
    private let lock: OpenFile

    /// Makes the directory (0700) and what belongs in it, and locks it.
    ///
    /// The lock is `flock(2)` on `lock`, which holds the pid of its holder: the kernel releases
    /// it with the process, so that a crash leaves nothing to clean up.
    init(_ path: String, allowNetworkFileSystem: Bool) throws(SpoolError) {
        do throws(FileError) {
            try FileSystem.makeDirectory(path)
            // /tmp and its kin must stay as they are.
            guard try !FileSystem.isSticky(path) else {
                throw FileError(operation: "\(path) belongs to everybody", code: EPERM)
            }
            // A directory made by hand may be open to others: what is in it is people's mail.
            guard unsafe chmod(path, 0o700) == 0 else {
                throw FileError(operation: "chmod \(path)", code: errno)
            }
        } catch {
            throw .directory(error.description)
        }
        if !allowNetworkFileSystem, let name = Self.networkFileSystem(at: path) {
            throw .networkFileSystem(name)
        }
        let file: OpenFile
        do throws(FileError) {
            file = try OpenFile(path + "/lock", O_RDWR | O_CREAT)
        } catch {
            throw .directory(error.description)
        }
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw .held(by: Self.holder(file))
        }
        do throws(FileError) {
            try file.truncate(to: 0)
            // A courtesy to the next one: on a full disk the lock holds without it.
            try? file.write(Array("\(getpid())\n".utf8).span)
            for name in ["content", "quarantine"] {
                try FileSystem.makeDirectory("\(path)/\(name)")
            }
            try FileSystem.syncDirectory(path)
        } catch {
            throw .directory(error.description)
        }
        self.path = path
        lock = file
    }

    private static func holder(_ file: borrowing OpenFile) -> Int32? {
        guard let octets = try? file.read(32, at: 0) else { return nil }
        return Int32(String(decoding: octets.prefix { $0 != 10 }, as: UTF8.self))
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
