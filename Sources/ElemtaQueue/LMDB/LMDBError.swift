import CLMDB
import Glibc

/// What an LMDB call returned: a positive `errno` or one of LMDB's own negative codes.
///
/// Which of them a caller can live with is `kind`; the code itself is for the log.
struct LMDBError: Error, Equatable, Sendable, CustomStringConvertible {
    let operation: StaticString
    let code: Int32

    static func == (left: LMDBError, right: LMDBError) -> Bool { left.code == right.code }

    /// What the failure means for the spool.
    enum Kind: Equatable, Sendable {
        /// No room on the disk or in the map. The old state is intact and service goes on.
        case full
        /// The transaction grew beyond what LMDB can hold; a smaller one may succeed.
        case transactionTooLarge
        /// A record with this key exists already.
        case exists
        /// The value or key is not one LMDB can store.
        case invalidValue
        /// Reading or writing failed: verify before going on.
        case broken
        /// A page isn't what it should be, or not where it should be.
        case damaged
    }

    /// For what we find ourselves, where LMDB would say the same.
    static let corrupted = MDB_CORRUPTED

    var kind: Kind {
        switch code {
        case MDB_MAP_FULL, ENOSPC, EDQUOT, EFBIG: .full
        case MDB_TXN_FULL, MDB_CURSOR_FULL, MDB_PAGE_FULL, ENOMEM: .transactionTooLarge
        case MDB_KEYEXIST: .exists
        case MDB_BAD_VALSIZE: .invalidValue
        case MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_INVALID, MDB_INCOMPATIBLE: .damaged
        default: .broken
        }
    }

    var description: String {
        // Safe because mdb_strerror returns a string that is never freed.
        let text = unsafe String(cString: mdb_strerror(code))
        return "\(operation): \(text) (\(code))"
    }

    /// Whether the system has said so, and not LMDB of its map.
    var isOfDisk: Bool { code > 0 }

    var isNotFound: Bool { code == MDB_NOTFOUND }

    /// Throws unless `code` is success.
    static func check(_ code: Int32, _ operation: StaticString) throws(LMDBError) {
        guard code == MDB_SUCCESS else { throw LMDBError(operation: operation, code: code) }
    }
}
