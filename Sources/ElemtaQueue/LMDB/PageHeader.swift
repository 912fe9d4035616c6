import CLMDB

/// The header of the page that a value of a snapshot lies in.
///
/// LMDB believes it when the value is removed: a wrong one ends the process, or gives a page that is in
/// use to whoever writes next. The record's own checksum says nothing of it.
struct PageHeader {
    /// Where the map begins, if the page is where it says.
    let mapStart: UInt
    private let isFitting: Bool

    private static let count = 16

    /// - Parameter value: in place in the map, as a read transaction lends it.
    init(of value: Span<UInt8>, pageSize: Int) {
        let count = value.count
        (mapStart, isFitting) = unsafe value.withUnsafeBytes { value in
            let offset = Int(UInt(bitPattern: value.baseAddress) % UInt(pageSize))
            guard let base = value.baseAddress else { return (0, false) }
            // Safe because the map begins at a page: what lies before the value is mapped too.
            let header = unsafe UnsafeRawBufferPointer(start: base - offset, count: Self.count)
            let number = unsafe header.load(fromByteOffset: 0, as: UInt64.self)
            let flags = unsafe header.load(fromByteOffset: 10, as: UInt16.self)
            let pages = unsafe header.load(fromByteOffset: 12, as: UInt32.self)
            let place = unsafe UInt(bitPattern: base - offset)
            let start = place &- UInt(number) &* UInt(pageSize)
            // Pages are written with or without the mark that they were dirty (0x10). In a leaf the
            // places of nodes lie behind the header, so that no data does.
            guard offset == Self.count else { return (start, flags & ~0x10 == 0x02) }
            let needed = (Self.count - 1 + count) / pageSize + 1
            return (start, flags & ~0x10 == 0x04 && Int(pages) == needed)
        }
    }

    /// Whether it is what belongs to the value, in a map that begins there.
    func isSound(inMapAt start: UInt) -> Bool { isFitting && mapStart == start }
}

extension LMDBReading where Self: ~Copyable {
    /// Octets in a page, as LMDB laid out the file.
    func pageSize() throws(LMDBError) -> Int {
        var statistics = MDB_stat()
        let code = unsafe mdb_stat(handle, LMDBTable.main.index, &statistics)
        try LMDBError.check(code, "mdb_stat")
        return Int(statistics.ms_psize)
    }

    /// Where the map begins, as the table of named tables tells; 0 when there is none.
    func mapStart(pageSize: Int) throws(LMDBError) -> UInt {
        try cursor(in: .main).first { _, value in
            PageHeader(of: value, pageSize: pageSize).mapStart
        } ?? 0
    }
}
