import CLMDB
import Glibc

/// What an environment is opened for.
enum LMDBAccess: Sendable {
    /// The caller sees to it that nobody else writes.
    case writing
    /// Beside whoever writes, or begins to: the pages that a read transaction sees are noted in the
    /// lock file and stay (`MDB_RDONLY`). Nothing else is written.
    case looking
    /// Nothing is made or written, and nothing locked (`MDB_RDONLY`, `MDB_NOLOCK`): nobody may write
    /// to the file meanwhile.
    case alone

    fileprivate var flags: Int32 {
        switch self {
        case .writing: 0
        case .looking: MDB_RDONLY
        case .alone: MDB_RDONLY | MDB_NOLOCK
        }
    }
}

/// One memory-mapped LMDB file (`MDB_env`), closed by `mdb_env_close` when released.
///
/// Any thread may begin a read transaction; write transactions belong to one thread, since LMDB's
/// write lock is held by the thread that took it. Every transaction must have ended before the
/// environment is released.
@safe final class LMDBEnvironment: @unchecked Sendable {
    // Safe because it is written once in `init` and closed in `deinit`; LMDB locks what it shares.
    private let handle: OpaquePointer

    /// Octets of address space: reserved once and never resized while readers live.
    let mapSize: Int

    /// Address space that is asked for first, and what is taken where the system refuses it
    /// (`RLIMIT_AS`, overcommit settings, small address spaces).
    static let preferredMapSize = 1 << 40
    static let fallbackMapSize = 64 << 30

    /// Opens or creates `path` (and `path` + "-lock"), both with mode 0600.
    ///
    /// `MDB_NOTLS` lets a read transaction move between threads. `MDB_WRITEMAP` isn't used: on a
    /// full disk a store into the map would raise SIGBUS. Readers that died with their process
    /// are cleared (`mdb_reader_check`): they would keep their pages from being reused for ever.
    private init(
        path: String, mapSize: Int, tables: Int, _ access: LMDBAccess
    ) throws(LMDBError) {
        var opened: OpaquePointer?
        try LMDBError.check(unsafe mdb_env_create(&opened), "mdb_env_create")
        guard let environment = unsafe opened else {
            throw LMDBError(operation: "mdb_env_create", code: ENOMEM)
        }
        do throws(LMDBError) {
            try LMDBError.check(
                unsafe mdb_env_set_mapsize(environment, mapSize), "mdb_env_set_mapsize")
            try LMDBError.check(
                unsafe mdb_env_set_maxdbs(environment, UInt32(tables)), "mdb_env_set_maxdbs")
            try LMDBError.check(
                unsafe mdb_env_set_maxreaders(environment, 512), "mdb_env_set_maxreaders")
            let flags = UInt32(MDB_NOSUBDIR | MDB_NOTLS | access.flags)
            try LMDBError.check(unsafe mdb_env_open(environment, path, flags, 0o600), "open spool")
            var dead: Int32 = 0
            try LMDBError.check(unsafe mdb_reader_check(environment, &dead), "mdb_reader_check")
        } catch {
            // Required after a failed mdb_env_open too: only this frees the handle.
            unsafe mdb_env_close(environment)
            throw error
        }
        unsafe self.handle = environment
        self.mapSize = mapSize
    }

    deinit { unsafe mdb_env_close(handle) }

    /// Opens with the preferred map, or the smaller one where address space is short.
    static func open(
        path: String, mapSize: Int?, tables: Int, _ access: LMDBAccess
    ) throws(LMDBError) -> LMDBEnvironment {
        func open(_ size: Int) throws(LMDBError) -> LMDBEnvironment {
            try LMDBEnvironment(path: path, mapSize: size, tables: tables, access)
        }
        func openWithRoom() throws(LMDBError) -> LMDBEnvironment {
            if let mapSize { return try open(mapSize) }
            do throws(LMDBError) {
                return try open(preferredMapSize)
            } catch {
                guard error.code == ENOMEM else { throw error }
                return try open(fallbackMapSize)
            }
        }
        func openWithItsLockFile() throws(LMDBError) -> LMDBEnvironment? {
            let environment = try openWithRoom()
            return try environment.hasItsLockFile() ? environment : nil
        }
        switch access {
        case .writing:
            if let environment = try openWithItsLockFile() { return environment }
            // The others keep theirs; the pages that they see are of the file that was there before.
            _ = unsafe unlink(path + "-lock")
        case .looking: makeLockFile(path)
        case .alone: break
        }
        return try openWithRoom()
    }

    /// Whether the lock file is this file's. LMDB begins it anew unless somebody has it open, and it
    /// says which transaction was the last: believed of a file that has since been put in the place of
    /// the one that a looker has open, that would have the newest pages overwritten.
    private func hasItsLockFile() throws(LMDBError) -> Bool {
        let transaction = try beginReading()
        var information = unsafe MDB_envinfo()
        unsafe mdb_env_info(handle, &information)
        return unsafe transaction.id == information.me_last_txnid
    }

    /// Makes the lock file as its owner would who writes; root may be the one who looks. Where it can't
    /// be made LMDB says why.
    private static func makeLockFile(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return }
        let file = unsafe Glibc.open(path + "-lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { return }
        _ = fchown(file, status.st_uid, status.st_gid)
        Glibc.close(file)
    }

    /// Writes what is in use into a new file, page after page and nothing between (`mdb_env_copy2`
    /// with `MDB_CP_COMPACT`). Nothing is synced, and what an error leaves of the file stays.
    func copyCompacted(to path: String) throws(LMDBError) {
        try LMDBError.check(
            unsafe mdb_env_copy2(handle, path, UInt32(MDB_CP_COMPACT)), "mdb_env_copy2")
    }

    /// Begins the one write transaction there can be; blocks while another process has it.
    func beginWriting() throws(LMDBError) -> WriteTransaction {
        try unsafe WriteTransaction(environment: handle)
    }

    /// Begins a read transaction: a snapshot that pins its pages, so keep it short.
    func beginReading() throws(LMDBError) -> ReadTransaction {
        try unsafe ReadTransaction(environment: handle)
    }

    /// Octets in a page, as LMDB laid out the file.
    var pageSize: Int {
        var statistics = MDB_stat()
        unsafe mdb_env_stat(handle, &statistics)
        return Int(statistics.ms_psize)
    }

    /// Pages of the file that are or once were in use; the file must be at least this long.
    var usedPages: Int {
        var information = unsafe MDB_envinfo()
        unsafe mdb_env_info(handle, &information)
        return unsafe information.me_last_pgno + 1
    }

    /// Pages the map has room for.
    var mapPages: Int { mapSize / max(pageSize, 1) }

    /// Octets the file has now.
    var fileSize: Int {
        var descriptor: Int32 = -1
        var status = stat()
        guard unsafe mdb_env_get_fd(handle, &descriptor) == MDB_SUCCESS,
            unsafe fstat(descriptor, &status) == 0
        else { return 0 }
        return Int(status.st_size)
    }
}

/// A named table of the environment (`MDB_dbi`): a number that stays valid while it is open.
struct LMDBTable: Sendable {
    let index: MDB_dbi

    /// LMDB's own table of pages to be reused.
    static let freeList = LMDBTable(index: 0)
    /// The table of named tables.
    static let main = LMDBTable(index: 1)
}
