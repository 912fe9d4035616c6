import Glibc

/// `spool.mdb` read without liblmdb, which ends the process when a page isn't what it expects.
///
/// The layout is that of LMDB 0.9 (`mdb.c`, data version 1) on a 64-bit little-endian machine:
/// pages 0 and 1 are meta pages, every other page says what it is in its first 16 octets, unless it
/// continues a run of overflow pages.
struct SpoolFile: ~Copyable {
    private let file: OpenFile
    /// Octets in a page.
    let pageSize: Int
    /// Whole pages in the file.
    let pageCount: Int
    /// The meta pages that can be read, the one of the latest transaction first.
    let metas: [SpoolMeta]

    init(_ path: String) throws(FileError) {
        let file = try OpenFile(path, O_RDONLY)
        let size = try file.size
        // LMDB takes the system's page size, up to 32 KiB, when it makes a file.
        let systemSize = min(Int(sysconf(Int32(_SC_PAGESIZE))), 1 << 15)
        var metas: [SpoolMeta] = []
        if let first = SpoolMeta(try file.read(SpoolMeta.extent, at: 0)) { metas.append(first) }
        let pageSize = metas.first?.pageSize ?? systemSize
        if let second = SpoolMeta(try file.read(SpoolMeta.extent, at: pageSize)) {
            metas.append(second)
        }
        metas.sort { $0.transaction > $1.transaction }
        self.metas = metas
        self.pageSize = pageSize
        pageCount = size / pageSize
        self.file = file
    }

    /// A page; nil where the disk doesn't give it.
    func page(_ number: Int) -> SpoolPage? {
        guard number < pageCount, let octets = octets(pageSize, at: number * pageSize)
        else { return nil }
        return SpoolPage(number: number, octets: octets)
    }

    /// Octets from anywhere; nil where the file ends before or the disk doesn't give them.
    func octets(_ count: Int, at offset: Int) -> [UInt8]? {
        guard let octets = try? file.read(count, at: offset), octets.count == count
        else { return nil }
        return octets
    }

    /// The data of a node, wherever it is; nil when that can't be read.
    func data(of node: SpoolPage.Node, in page: SpoolPage) -> [UInt8]? {
        guard let target = node.overflowPage else { return Array(page.octets[node.data]) }
        return octets(node.count, at: target * pageSize + SpoolPage.headerCount)
    }
}

/// One of the two pages that say where the trees of a transaction begin.
struct SpoolMeta {
    let pageSize: Int
    /// Of free pages.
    let freeTree: SpoolTree
    /// Of named tables.
    let mainTree: SpoolTree
    let transaction: UInt64

    /// Octets from the beginning of the page that are looked at.
    static let extent = 152
    private static let magic: UInt32 = 0xBEEF_C0DE

    init?(_ octets: [UInt8]) {
        let span = octets.span
        guard octets.count == Self.extent,
            span.littleEndian(at: 10, as: UInt16.self) & SpoolPage.metaFlag != 0,
            span.littleEndian(at: 16, as: UInt32.self) == Self.magic,
            span.littleEndian(at: 20, as: UInt32.self) == 1
        else { return nil }
        let size = Int(span.littleEndian(at: 40, as: UInt32.self))
        guard size >= 512, size <= 1 << 16, size & (size - 1) == 0 else { return nil }
        pageSize = size
        guard let freeTree = SpoolTree(octets[40..<88]), let mainTree = SpoolTree(octets[88..<136])
        else { return nil }
        self.freeTree = freeTree
        self.mainTree = mainTree
        transaction = span.littleEndian(at: 144, as: UInt64.self)
    }
}

/// A page and what its header makes of it.
struct SpoolPage {
    let number: Int
    let octets: [UInt8]

    static let headerCount = 16
    static let metaFlag: UInt16 = 0x08

    enum Kind {
        case branch([Int])
        /// Without the nodes that can't be read.
        case leaf([Node])
        /// The first of so many pages of one value.
        case overflow(pages: Int)
        /// Its header isn't one, or not that of this page; or it continues an overflow.
        case unknown
    }

    struct Node {
        let key: Range<Int>
        /// Where the data lies in the page; of an overflow, its page number does.
        let data: Range<Int>
        /// Octets of data, wherever they are.
        let count: Int
        let overflowPage: Int?
        /// The node describes a named table.
        let isTable: Bool

        /// Where the next node may begin: at an even place.
        var end: Int { (data.upperBound + 1) & ~1 }
    }

    var kind: Kind {
        let span = octets.span
        guard span.littleEndian(at: 0, as: UInt64.self) == UInt64(number) else { return .unknown }
        // Pages are written with or without the mark that they were dirty (0x10).
        switch span.littleEndian(at: 10, as: UInt16.self) & ~0x10 {
        case 0x01: return nodes { branchTarget(at: $0) }.map { .branch($0) } ?? .unknown
        case 0x02: return nodes { leafNode(at: $0) }.map { .leaf($0) } ?? .unknown
        case 0x04:
            let pages = Int(span.littleEndian(at: 12, as: UInt32.self))
            return pages > 0 ? .overflow(pages: pages) : .unknown
        default: return .unknown
        }
    }

    /// Reads every node that can be; nil when the header doesn't say where they are.
    private func nodes<N>(_ read: (Int) -> N?) -> [N]? {
        let span = octets.span
        let lower = Int(span.littleEndian(at: 12, as: UInt16.self))
        let upper = Int(span.littleEndian(at: 14, as: UInt16.self))
        guard lower >= Self.headerCount, lower <= upper, upper <= octets.count, lower % 2 == 0
        else { return nil }
        var nodes: [N] = []
        for place in stride(from: Self.headerCount, to: lower, by: 2) {
            let offset = Int(span.littleEndian(at: place, as: UInt16.self))
            guard offset >= upper, offset + Self.nodeHeaderCount <= octets.count,
                let node = read(offset)
            else { continue }
            nodes.append(node)
        }
        return nodes
    }

    static let nodeHeaderCount = 8

    private func branchTarget(at offset: Int) -> Int? {
        let span = octets.span
        let low = Int(span.littleEndian(at: offset, as: UInt32.self))
        return low | Int(span.littleEndian(at: offset + 4, as: UInt16.self)) << 32
    }

    /// Reads the node that begins at `offset`, whose header lies inside of the page; nil when it
    /// isn't one.
    func leafNode(at offset: Int) -> Node? {
        let span = octets.span
        let count = Int(span.littleEndian(at: offset, as: UInt32.self))
        let flags = span.littleEndian(at: offset + 4, as: UInt16.self)
        let keyEnd =
            offset + Self.nodeHeaderCount
            + Int(span.littleEndian(at: offset + 6, as: UInt16.self))
        let isOverflow = flags & 0x01 != 0
        let end = keyEnd + (isOverflow ? 8 : count)
        guard flags & ~0x03 == 0, end <= octets.count else { return nil }
        return Node(
            key: offset + Self.nodeHeaderCount..<keyEnd, data: keyEnd..<end, count: count,
            overflowPage: isOverflow
                ? Int(exactly: span.littleEndian(at: keyEnd, as: UInt64.self)) : nil,
            isTable: flags & 0x02 != 0)
    }
}
