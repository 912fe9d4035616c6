import Glibc

/// The lock that makes one process the only user of a `queue_dir`, held while this value lives.
///
/// It is `flock(2)` on `lock`, which holds the pid of its holder: the kernel releases it with the
/// process, so that a crash leaves nothing to clean up. Nothing else in the directory is looked at.
public struct QueueLock: ~Copyable, Sendable {
    private let file: OpenFile

    /// Makes the directory (0700) unless it is there, and locks it.
    ///
    /// - Throws: `.held` when another process has it (exit status 75), `.directory`.
    public init(_ path: String) throws(SpoolError) {
        try QueueDirectory.make(path)
        try self.init(made: path)
    }

    /// Locks a directory that `QueueDirectory.make` has been asked for.
    init(made path: String) throws(SpoolError) {
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
        } catch {
            throw .directory(error.description)
        }
        self.file = file
    }

    /// Locks a directory without writing anything there; nil when it has no lock file, which
    /// everybody who writes makes first.
    init?(lookingAt path: String) throws(SpoolError) {
        let file: OpenFile
        do throws(FileError) {
            file = try OpenFile(path + "/lock", O_RDONLY)
        } catch {
            if error.code == ENOENT { return nil }
            throw .directory(error.description)
        }
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw .held(by: Self.holder(file))
        }
        self.file = file
    }

    deinit {
        // Closing isn't enough: a process that is just being started has a copy of the descriptor
        // until its program runs, and the lock would last as long.
        flock(file.descriptor, LOCK_UN)
    }

    /// Throws `.held` when a process has the directory locked; changes nothing.
    public static func checkIsFree(_ path: String) throws(SpoolError) {
        _ = try QueueLock(lookingAt: path)
    }

    private static func holder(_ file: borrowing OpenFile) -> Int32? {
        guard let octets = try? file.read(32, at: 0) else { return nil }
        return Int32(String(decoding: octets.prefix { $0 != 10 }, as: UTF8.self))
    }
}
