import CLMDB

/// A place in a table (`MDB_cursor`), closed when it goes out of scope.
@safe struct LMDBCursor: ~Copyable {
    private let handle: OpaquePointer

    @unsafe init(transaction: OpaquePointer, table: LMDBTable) throws(LMDBError) {
        var opened: OpaquePointer?
        try LMDBError.check(
            unsafe mdb_cursor_open(transaction, table.index, &opened), "mdb_cursor_open")
        guard let cursor = unsafe opened else {
            throw LMDBError(operation: "mdb_cursor_open", code: MDB_PANIC)
        }
        unsafe handle = cursor
    }

    deinit { unsafe mdb_cursor_close(handle) }

    typealias Visit<R> = (_ key: Span<UInt8>, _ value: Span<UInt8>) -> R

    /// Goes to the first record; nil when the table is empty.
    func first<R>(_ visit: Visit<R>) throws(LMDBError) -> R? {
        try move(MDB_FIRST, to: nil, visit)
    }

    /// Goes to the last record; nil when the table is empty.
    func last<R>(_ visit: Visit<R>) throws(LMDBError) -> R? {
        try move(MDB_LAST, to: nil, visit)
    }

    /// Goes to the next record; nil at the end.
    func next<R>(_ visit: Visit<R>) throws(LMDBError) -> R? {
        try move(MDB_NEXT, to: nil, visit)
    }

    /// Goes to the first record whose key is `key` or greater; nil when there is none.
    func seek<R>(_ key: RecordKey, _ visit: Visit<R>) throws(LMDBError) -> R? {
        try move(MDB_SET_RANGE, to: key, visit)
    }

    private func move<R>(
        _ operation: MDB_cursor_op, to target: RecordKey?, _ visit: Visit<R>
    ) throws(LMDBError) -> R? {
        var key = unsafe MDB_val()
        var value = unsafe MDB_val()
        let code: Int32
        if var target {
            code = unsafe target.withValue { wanted in
                let result = unsafe mdb_cursor_get(handle, &wanted, &value, operation)
                unsafe key = wanted
                return result
            }
        } else {
            code = unsafe mdb_cursor_get(handle, &key, &value, operation)
        }
        if code == MDB_NOTFOUND { return nil }
        try LMDBError.check(code, "mdb_cursor_get")
        return unsafe key.withOctets { key in
            unsafe value.withOctets { value in visit(key, value) }
        }
    }
}
