import Glibc

/// The lock that makes one process the only user of a `queue_dir`, held while this value lives.
///
/// It is a lock of the open file description (fcntl(2), `F_OFD_SETLK`) on `lock`, which holds the pid
/// of its holder: the kernel releases it with the process, so that a crash leaves nothing to clean up.
/// Unlike one of flock(2) it can be asked about without being taken, so that whoever only looks is in
/// nobody's way. Nothing else in the directory is looked at.
public struct QueueLock: ~Copyable, Sendable {
    private let file: OpenFile

    // Of <fcntl.h> with _GNU_SOURCE, which Swift doesn't see; the same on every Linux.
    private static let ask: Int32 = 36  // F_OFD_GETLK
    private static let set: Int32 = 37  // F_OFD_SETLK

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
            throw .directory(error.description + DirectoryOwner.hint(at: path, after: error))
        }
        var whole = Self.wholeFile(F_WRLCK)
        // Safe because `whole` is a local of the type that this command takes.
        guard unsafe fcntl(file.descriptor, Self.set, &whole) == 0 else {
            guard errno == EAGAIN || errno == EACCES else {
                throw .directory(FileError(operation: "lock \(path)", code: errno).description)
            }
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

    deinit {
        // Closing isn't enough: a process that is just being started has a copy of the descriptor
        // until its program runs, and the lock would last as long.
        var whole = Self.wholeFile(F_UNLCK)
        // Safe because `whole` is a local of the type that this command takes.
        _ = unsafe fcntl(file.descriptor, Self.set, &whole)
    }

    /// Throws `.held` when a process has the directory locked; changes nothing, and locks nothing.
    public static func checkIsFree(_ path: String) throws(SpoolError) {
        let file: OpenFile
        do throws(FileError) {
            file = try OpenFile(path + "/lock", O_RDONLY)
        } catch {
            // Everybody who writes makes it first.
            if error.code == ENOENT { return }
            throw .directory(error.description)
        }
        var whole = wholeFile(F_WRLCK)
        // Safe because `whole` is a local of the type that this command takes.
        guard unsafe fcntl(file.descriptor, ask, &whole) == 0 else {
            throw .directory(FileError(operation: "look at \(path)/lock", code: errno).description)
        }
        if Int32(whole.l_type) != F_UNLCK { throw .held(by: holder(file)) }
    }

    private static func wholeFile(_ type: Int32) -> flock {
        var whole = flock()
        whole.l_type = Int16(type)
        whole.l_whence = Int16(SEEK_SET)
        return whole
    }

    private static func holder(_ file: borrowing OpenFile) -> Int32? {
        guard let octets = try? file.read(32, at: 0) else { return nil }
        return Int32(String(decoding: octets.prefix { $0 != 10 }, as: UTF8.self))
    }
}
