/// What LMDB keeps of one tree (`MDB_db`).
struct SpoolTree {
    /// Pages from the root to a leaf.
    let depth: Int
    /// Nil: the tree is empty.
    let root: Int?

    private static let count = 48

    /// Nil when that isn't one.
    init?(_ octets: ArraySlice<UInt8>) {
        guard octets.count == Self.count else { return nil }
        let octets = Array(octets)
        depth = Int(octets.span.littleEndian(at: 6, as: UInt16.self))
        root = Int(exactly: octets.span.littleEndian(at: 40, as: UInt64.self))
        guard (root == nil) == (depth == 0) else { return nil }
    }
}
