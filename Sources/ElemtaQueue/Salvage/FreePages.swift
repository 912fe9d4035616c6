/// The pages of a spool file that hold nothing any more and will be written next: what lies in them
/// are records of messages that were delivered long ago.
///
/// LMDB keeps them in a tree of its own, transaction by transaction.
struct FreePages {
    private var isFree: [Bool]
    /// Whether every free page is known. Else records that are found may be old ones: messages may
    /// come twice, but none is left out.
    let isComplete: Bool

    /// Walks the tree of the latest transaction. Without both meta pages it isn't known which that is,
    /// and half a tree, or an older one, would have pages for free that are in use.
    init(_ file: borrowing SpoolFile) {
        var walk = FreePageWalk(pageCount: file.pageCount)
        isComplete =
            file.metas.count == 2
            && file.metas[0].freeTree.root.map { walk.visit($0, of: file) } ?? true
        isFree = isComplete ? walk.isFree : [Bool](repeating: false, count: file.pageCount)
    }

    func contains(_ number: Int) -> Bool { isFree[number] }

    /// Reads the value of one transaction: how many pages, then their numbers, falling (`MDB_IDL`).
    static func list(_ data: [UInt8]) -> [Int]? {
        let room = data.count / 8 - 1
        guard data.count % 8 == 0, room >= 0 else { return nil }
        let span = data.span
        guard let count = Int(exactly: span.littleEndian(at: 0, as: UInt64.self)), count <= room
        else { return nil }
        var numbers: [Int] = []
        numbers.reserveCapacity(count)
        for index in 0..<count {
            guard
                let number = Int(exactly: span.littleEndian(at: 8 + 8 * index, as: UInt64.self)),
                number > 1, number < numbers.last ?? .max
            else { return nil }
            numbers.append(number)
        }
        return numbers
    }
}

private struct FreePageWalk {
    var isFree: [Bool]
    private var visited: Set<Int> = []

    init(pageCount: Int) { isFree = [Bool](repeating: false, count: pageCount) }

    /// Visits a page of the tree and all below it.
    ///
    /// - Returns: whether all of them could be read.
    mutating func visit(_ number: Int, of file: borrowing SpoolFile) -> Bool {
        guard visited.insert(number).inserted, let page = file.page(number) else { return false }
        switch page.kind {
        case .branch(let targets):
            var isWhole = true
            for target in targets where !visit(target, of: file) { isWhole = false }
            return isWhole
        case .leaf(let nodes):
            return nodes.reduce(true) { isWhole, node in take(node, page, file) && isWhole }
        case .overflow, .unknown: return false
        }
    }

    /// Takes what one transaction has freed; false when the node isn't one of this tree.
    private mutating func take(
        _ node: SpoolPage.Node, _ page: SpoolPage, _ file: borrowing SpoolFile
    ) -> Bool {
        guard node.key.count == 8, !node.isTable, node.count % 8 == 0,
            let data = file.data(of: node, in: page), let pages = FreePages.list(data)
        else { return false }
        for number in pages where number < isFree.count { isFree[number] = true }
        return true
    }
}
