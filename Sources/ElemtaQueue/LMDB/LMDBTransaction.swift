import CLMDB

/// A key of ours: a message id, or a message id and the number of a piece; big-endian, so that
/// LMDB's octet order is time order.
struct RecordKey: Equatable, Sendable {
    private var id: UInt64
    private var part: UInt32
    private let count: Int

    init(_ id: MessageID) {
        self.id = id.rawValue.bigEndian
        part = 0
        count = 8
    }

    init(_ id: MessageID, part: UInt32) {
        self.id = id.rawValue.bigEndian
        self.part = part.bigEndian
        count = 12
    }

    /// Nil for a key that isn't ours.
    init?(_ octets: Span<UInt8>) {
        guard octets.count == 8 || octets.count == 12 else { return nil }
        id = octets.littleEndian(at: 0, as: UInt64.self)
        part = octets.count == 12 ? octets.littleEndian(at: 8, as: UInt32.self) : 0
        count = octets.count
    }

    var messageID: MessageID { MessageID(rawValue: UInt64(bigEndian: id)) }
    /// The number of a piece; 0 where there is none.
    var partNumber: UInt32 { UInt32(bigEndian: part) }

    /// As LMDB has them in order.
    static func < (left: RecordKey, right: RecordKey) -> Bool {
        (left.messageID, left.partNumber) < (right.messageID, right.partNumber)
    }

    /// Lends the octets as LMDB wants them.
    mutating func withValue<R>(_ body: (inout MDB_val) -> R) -> R {
        let count = count
        return unsafe withUnsafeMutableBytes(of: &self) { octets in
            // Safe because id and part are the first 12 octets of the structure (8, then 4), and
            // LMDB doesn't keep the pointer.
            var value = unsafe MDB_val(mv_size: count, mv_data: octets.baseAddress)
            return unsafe body(&value)
        }
    }
}

/// What can be read in any transaction.
protocol LMDBReading: ~Copyable {
    /// The `MDB_txn`; valid while the transaction lives.
    @unsafe var handle: OpaquePointer { get }
}

extension LMDBReading where Self: ~Copyable {
    /// Lends the value stored under `key`, in place in the map; nil when there is none.
    func withValue<R>(
        of key: RecordKey, in table: LMDBTable, _ body: (Span<UInt8>) -> R
    ) throws(LMDBError) -> R? {
        var key = key
        var found = unsafe MDB_val()
        let code = unsafe key.withValue { unsafe mdb_get(handle, table.index, &$0, &found) }
        if code == MDB_NOTFOUND { return nil }
        try LMDBError.check(code, "mdb_get")
        return unsafe found.withOctets(body)
    }

    /// Opens a named table. Valid for the environment once committed.
    ///
    /// - Parameter isMade: it is made when it is missing, for which the transaction must write.
    func openTable(_ name: String, isMade: Bool) throws(LMDBError) -> LMDBTable {
        var index: MDB_dbi = 0
        let flags = isMade ? UInt32(MDB_CREATE) : 0
        try LMDBError.check(unsafe mdb_dbi_open(handle, name, flags, &index), "mdb_dbi_open")
        return LMDBTable(index: index)
    }

    /// How many records the table holds; kept by LMDB, costs nothing.
    func count(of table: LMDBTable) throws(LMDBError) -> Int {
        var statistics = MDB_stat()
        try LMDBError.check(unsafe mdb_stat(handle, table.index, &statistics), "mdb_stat")
        return Int(statistics.ms_entries)
    }

    /// A cursor before the first record of the table. It must not outlive the transaction.
    func cursor(in table: LMDBTable) throws(LMDBError) -> LMDBCursor {
        try unsafe LMDBCursor(transaction: handle, table: table)
    }

    /// Pages that the tree of a table takes, as LMDB keeps count of them.
    func pages(of table: LMDBTable) throws(LMDBError) -> Int {
        var statistics = MDB_stat()
        try LMDBError.check(unsafe mdb_stat(handle, table.index, &statistics), "mdb_stat")
        return Int(
            statistics.ms_branch_pages + statistics.ms_leaf_pages + statistics.ms_overflow_pages)
    }

    /// Visits every page that later transactions may reuse.
    ///
    /// - Throws: also when the list of them isn't one.
    func forEachFreePage(_ visit: (Int) -> Void) throws(LMDBError) {
        let cursor = try cursor(in: .freeList)
        let look: LMDBCursor.Visit<Bool> = { _, value in
            guard let pages = FreePages.list(value.copied) else { return false }
            for page in pages { visit(page) }
            return true
        }
        var found = try cursor.first(look)
        while found == true { found = try cursor.next(look) }
        if found == false {
            throw LMDBError(operation: "list of free pages", code: LMDBError.corrupted)
        }
    }

    /// Pages that later transactions may reuse: a walk through LMDB's free list.
    func freePages() throws(LMDBError) -> Int {
        let cursor = try cursor(in: .freeList)
        var pages = 0
        var found = try cursor.first { _, value in
            // The value starts with the number of pages that follow (MDB_IDL).
            Int(value.littleEndian(at: 0, as: UInt64.self))
        }
        while let count = found {
            pages += count
            found = try cursor.next { _, value in
                Int(value.littleEndian(at: 0, as: UInt64.self))
            }
        }
        return pages
    }
}

/// A snapshot (`mdb_txn_begin` with `MDB_RDONLY`), ended when it goes out of scope.
@safe struct ReadTransaction: LMDBReading, ~Copyable {
    @unsafe let handle: OpaquePointer

    @unsafe init(environment: OpaquePointer) throws(LMDBError) {
        unsafe handle = try beginTransaction(environment, flags: UInt32(MDB_RDONLY))
    }

    deinit { unsafe mdb_txn_abort(handle) }

    /// The transaction whose result it sees (`mdb_txn_id`).
    var id: Int { unsafe mdb_txn_id(handle) }

    /// Ends the transaction; tables that it has opened stay open.
    consuming func commit() throws(LMDBError) {
        let ending = unsafe handle
        discard self
        try LMDBError.check(unsafe mdb_txn_commit(ending), "end of reading")
    }
}

/// The one transaction that writes. Ends without a trace unless `commit` is called.
@safe struct WriteTransaction: LMDBReading, ~Copyable {
    @unsafe let handle: OpaquePointer

    @unsafe init(environment: OpaquePointer) throws(LMDBError) {
        unsafe handle = try beginTransaction(environment, flags: 0)
    }

    deinit { unsafe mdb_txn_abort(handle) }

    /// Writes everything and syncs it: when this returns the transaction survives a power loss.
    ///
    /// On an error nothing of it is visible and the state before it is intact, with one exception:
    /// when writing the last page (LMDB's meta page) failed, what is on disk is unknown.
    consuming func commit() throws(LMDBError) {
        let ending = unsafe handle
        discard self
        // mdb_txn_commit frees the handle whatever it returns.
        try LMDBError.check(unsafe mdb_txn_commit(ending), "commit")
    }

    /// Ends the transaction without a trace.
    consuming func abort() {}

    enum Placement {
        /// Must not exist yet.
        case new
        /// Must not exist yet and sorts behind every key of the table: no search, full pages.
        case last
        /// Takes the place of what is there.
        case replacing
    }

    /// Makes room for `count` octets under `key` (`MDB_RESERVE`), to be filled in place, so that
    /// octets are copied once. All of it must be written, before the next call that writes.
    @unsafe func reserve(
        _ key: RecordKey, in table: LMDBTable, count: Int, _ placement: Placement
    ) throws(LMDBError) -> UnsafeMutableRawBufferPointer {
        let flags =
            switch placement {
            case .new: MDB_RESERVE | MDB_NOOVERWRITE
            case .last: MDB_RESERVE | MDB_APPEND
            case .replacing: MDB_RESERVE
            }
        var key = key
        var value = unsafe MDB_val(mv_size: count, mv_data: nil)
        let code = unsafe key.withValue {
            unsafe mdb_put(handle, table.index, &$0, &value, UInt32(flags))
        }
        try LMDBError.check(code, "mdb_put")
        return unsafe UnsafeMutableRawBufferPointer(start: value.mv_data, count: count)
    }

    /// Stores a record that is greater than all that its table has.
    func put(
        _ octets: [UInt8], _ key: RecordKey, in table: LMDBTable
    ) throws(LMDBError) {
        // Safe because all of the record is written before anything else is.
        let record = try unsafe reserve(key, in: table, count: octets.count, .last)
        unsafe record.copy(octets.span, at: 0)
    }

    /// Removes the record; false when there was none.
    @discardableResult
    func delete(_ key: RecordKey, from table: LMDBTable) throws(LMDBError) -> Bool {
        var key = key
        let code = unsafe key.withValue { unsafe mdb_del(handle, table.index, &$0, nil) }
        if code == MDB_NOTFOUND { return false }
        try LMDBError.check(code, "mdb_del")
        return true
    }
}

private func beginTransaction(
    _ environment: OpaquePointer, flags: UInt32
) throws(LMDBError) -> OpaquePointer {
    var begun: OpaquePointer?
    try LMDBError.check(unsafe mdb_txn_begin(environment, nil, flags, &begun), "mdb_txn_begin")
    guard let handle = unsafe begun else {
        throw LMDBError(operation: "mdb_txn_begin", code: MDB_PANIC)
    }
    return unsafe handle
}

extension MDB_val {
    /// Lends the octets it points at, which are valid as long as its transaction lives and
    /// until that writes again.
    @unsafe func withOctets<R>(_ body: (Span<UInt8>) -> R) -> R {
        let buffer = unsafe UnsafeRawBufferPointer(start: mv_data, count: mv_size)
        return unsafe body(Span(_unsafeBytes: buffer))
    }
}
