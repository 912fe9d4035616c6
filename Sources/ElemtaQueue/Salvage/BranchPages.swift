/// The branch pages of a spool file, read without liblmdb.
///
/// LMDB finds its way through a branch page that says to be another one, and at the next change gives
/// that other one to whoever writes next. No record shows it.
enum BranchPages {
    /// Whether each is the page that its parent means, in all trees of the latest transaction.
    static func areSound(_ file: borrowing SpoolFile) -> Bool {
        guard let meta = file.metas.first else { return false }
        guard isSound(meta.freeTree, file), isSound(meta.mainTree, file) else { return false }
        // A few named tables fit into one leaf.
        guard let root = meta.mainTree.root else { return true }
        guard meta.mainTree.depth == 1, let page = file.page(root),
            case .leaf(let nodes) = page.kind
        else { return false }
        return nodes.allSatisfy { node in
            SpoolTree(page.octets[node.data]).map { isSound($0, file) } ?? false
        }
    }

    private static func isSound(_ tree: SpoolTree, _ file: borrowing SpoolFile) -> Bool {
        tree.root.map { isSound($0, depth: tree.depth, file) } ?? true
    }

    private static func isSound(
        _ number: Int, depth: Int, _ file: borrowing SpoolFile
    ) -> Bool {
        // Leaves are looked at with the records in them.
        guard depth > 1 else { return true }
        guard let page = file.page(number), case .branch(let targets) = page.kind else {
            return false
        }
        for target in targets where !isSound(target, depth: depth - 1, file) { return false }
        return true
    }
}
