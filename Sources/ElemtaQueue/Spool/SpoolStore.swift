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
    private let mapSize: Int?
    private let gate = ReadWriteLock()
    private var tables: Tables?

    /// Counts the openings of this spool; content files carry it.
    var generation: UInt64 = 0

    struct Tables {
        let environment: LMDBEnvironment
        let envelope: LMDBTable
        let content: LMDBTable
        let removal: LMDBTable
        let state: LMDBTable
    }

    /// Octets in an LMDB page after its header: a record of this size takes one overflow page.
    static let pageRoom = 4080
    /// Octets of content in one piece.
    static let pieceRoom = pageRoom - RecordHeader.count

    init(path: String, mapSize: Int?) throws(SpoolError) {
        self.path = path
        self.mapSize = mapSize
        tables = try Self.openTables(path, mapSize)
    }

    private static func openTables(
        _ path: String, _ mapSize: Int?
    ) throws(SpoolError) -> Tables {
        do throws(LMDBError) {
            let environment = try LMDBEnvironment.open(
                path: path + "/spool.mdb", mapSize: mapSize, tables: 8)
            // Reading beyond the end of a mapped file is SIGBUS: find out before.
            guard environment.fileSize >= environment.usedPages * environment.pageSize else {
                throw LMDBError(operation: "spool.mdb is shorter than its pages", code: EIO)
            }
            let transaction = try environment.beginWriting()
            let tables = Tables(
                environment: environment, envelope: try transaction.openTable("envelope"),
                content: try transaction.openTable("content"),
                removal: try transaction.openTable("removal"),
                state: try transaction.openTable("state"))
            try transaction.commit()
            return tables
        } catch {
            throw error.kind == .full ? .full : .unreadable(error.description)
        }
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

    /// Closes the environment and opens it anew, after a commit failed in a way that leaves the
    /// kernel's and LMDB's idea of the file in doubt.
    func reopen() throws(SpoolError) {
        try gate.writing { () throws(SpoolError) in
            // LMDB must not have one file open twice in a process: the old one goes first.
            tables = nil
            tables = try Self.openTables(path, mapSize)
        }
    }

    /// Closes the environment; everything fails from here on.
    func close() {
        gate.writing { tables = nil }
    }
}
