import ElemtaSMTP
import Glibc

/// What is on disk: the LMDB tables and the content files, and how a message is laid out in them.
///
/// Reading is for any thread. Whatever takes a `WriteTransaction` belongs to the spool thread (or,
/// on a stopped server, to the only thread there is).
final class SpoolStore: @unchecked Sendable {
    // Sendable because `tables` changes under the write side of `gate` only and is read under
    // its read side or on the spool thread, which is the only one that changes it.
    let path: String
    private let name: String
    private let mapSize: Int?
    private let access: LMDBAccess
    private let gate = ReadWriteLock()
    private var tables: Tables?

    /// Cleared when the tables as a whole are in doubt: such a spool isn't left as if it had been
    /// closed in good order. Spool thread.
    var isSound = true

    /// Set when a commit failed that may have failed in its sync: nothing more is written before the
    /// spool is opened anew and verified. Spool thread.
    private(set) var doubt: LMDBError?

    /// Counts the openings of this spool; content files carry it.
    var generation: UInt64 = 0
    /// The number of the last entry of the journal that is in the tables. Spool thread.
    var applied: UInt64 = 0

    struct Tables {
        let environment: LMDBEnvironment
        let envelope: LMDBTable
        let content: LMDBTable
        let removal: LMDBTable
        let state: LMDBTable

        init(
            _ environment: LMDBEnvironment, _ transaction: borrowing some LMDBReading & ~Copyable,
            areMade: Bool
        ) throws(LMDBError) {
            self.environment = environment
            envelope = try transaction.openTable("envelope", isMade: areMade)
            content = try transaction.openTable("content", isMade: areMade)
            removal = try transaction.openTable("removal", isMade: areMade)
            state = try transaction.openTable("state", isMade: areMade)
        }
    }

    /// Octets in an LMDB page after its header: a record of this size takes one overflow page.
    static let pageRoom = 4080
    /// Octets of content in one piece.
    static let pieceRoom = pageRoom - RecordHeader.count
    /// Octets of content that are copied out in one read transaction, while it is sent: whole
    /// pieces, and less than 64 KiB.
    static let blockCount = 16 * pieceRoom

    /// - Throws: `.noQueue` when nothing may be made and there is nothing, `.unreadable` when the
    ///   spool is damaged as a whole, `.full`, `.storage`.
    init(
        path: String, name: String = "spool.mdb", mapSize: Int?, access: LMDBAccess = .writing
    ) throws(SpoolError) {
        self.path = path
        self.name = name
        self.mapSize = mapSize
        self.access = access
        tables = try openTables()
    }

    private func openTables() throws(SpoolError) -> Tables {
        let found: Tables?
        do throws(LMDBError) {
            let environment = try LMDBEnvironment.open(
                path: "\(path)/\(name)", mapSize: mapSize, tables: 8, access)
            // Reading beyond the end of a mapped file is SIGBUS: find out before.
            guard environment.fileSize >= environment.usedPages * environment.pageSize else {
                throw LMDBError(
                    operation: "spool.mdb is shorter than its pages", code: LMDBError.corrupted)
            }
            found = try existingTables(environment)
            if found == nil, access == .writing { return try newTables(environment) }
        } catch {
            throw SpoolError(error)
        }
        guard let found else { throw .noQueue(path) }
        return found
    }

    /// Nil when the environment is new. Tables come and go together: one that isn't there where others
    /// are is lost, and must not be made anew.
    private func existingTables(_ environment: LMDBEnvironment) throws(LMDBError) -> Tables? {
        let transaction = try environment.beginReading()
        guard try transaction.count(of: .main) > 0 else { return nil }
        let tables: Tables
        do throws(LMDBError) {
            tables = try Tables(environment, transaction, areMade: false)
        } catch {
            guard error.isNotFound else { throw error }
            throw LMDBError(operation: "a table is missing", code: LMDBError.corrupted)
        }
        try transaction.commit()
        return tables
    }

    private func newTables(_ environment: LMDBEnvironment) throws(LMDBError) -> Tables {
        let transaction = try environment.beginWriting()
        let tables = try Tables(environment, transaction, areMade: true)
        try transaction.commit()
        return tables
    }

    // MARK: - Transactions

    /// The tables, for the spool thread; nothing while the environment could not be reopened.
    func opened() throws(LMDBError) -> Tables {
        guard let tables else { throw LMDBError(operation: "spool is closed", code: EIO) }
        return tables
    }

    /// Runs `body` with a snapshot. Keep it short.
    func reading<R>(
        _ body: (borrowing ReadTransaction, Tables) throws(SpoolError) -> R
    ) throws(SpoolError) -> R {
        try gate.reading { () throws(SpoolError) -> R in
            let tables: Tables
            let transaction: ReadTransaction
            do throws(LMDBError) {
                tables = try opened()
                transaction = try tables.environment.beginReading()
            } catch {
                throw SpoolError(error)
            }
            return try body(transaction, tables)
        }
    }

    /// Writes a transaction that `body` fills; nothing while the spool is in doubt.
    func write(
        _ body: (borrowing WriteTransaction, Tables) throws(LMDBError) -> Void
    ) throws(SpoolError) {
        do throws(LMDBError) {
            if let doubt { throw doubt }
            let tables = try opened()
            let transaction = try tables.environment.beginWriting()
            try body(transaction, tables)
            try transaction.commit()
        } catch {
            let error = explained(error)
            noteFailure(error)
            throw SpoolError(error)
        }
    }

    /// A commit has failed.
    func noteFailure(_ error: LMDBError) {
        if error.kind == .broken || isOfSync(error) { doubt = error }
    }

    /// Whether a commit that found no room failed in its sync: with room left on the disk nothing
    /// else can have.
    func isOfSync(_ error: LMDBError) -> Bool {
        error.kind == .full && error.isOfDisk && !isDiskFull
    }

    /// Closes the environment and opens it anew, after a commit failed in a way that leaves the
    /// kernel's and LMDB's idea of the file in doubt.
    func reopen() throws(SpoolError) {
        try gate.writing { () throws(SpoolError) in
            // LMDB must not have one file open twice in a process: the old one goes first.
            tables = nil
            tables = try openTables()
        }
        doubt = nil
    }

    /// Closes the environment, which is damaged for `reason`, has what is in it salvaged, and opens
    /// the new one.
    func salvage(
        because reason: String, events: @escaping @Sendable (SpoolEvent) -> Void
    ) throws(SpoolError) {
        try gate.writing { () throws(SpoolError) in
            tables = nil
            try Salvager.salvage(path, because: reason, mapSize: mapSize, events: events)
            tables = try openTables()
        }
        _ = try beginGeneration()
    }

    /// Closes the environment, puts a file that is whole and synced in the place of the one that there
    /// is, and opens that. A crash leaves one or the other.
    func exchange(for file: String) throws(SpoolError) {
        try gate.writing { () throws(SpoolError) in
            tables = nil
            do throws(FileError) {
                try FileSystem.move(file, to: "\(path)/\(name)")
                try FileSystem.syncDirectory(path)
            } catch {
                throw error.spoolError
            }
            tables = try openTables()
        }
    }

    /// Closes the environment; everything fails from here on.
    func close() {
        gate.writing { tables = nil }
    }
}
