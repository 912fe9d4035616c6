/// Finds the records of a damaged spool by what they say about themselves, page after page.
///
/// A record is looked for only where one can begin: behind the header of a page, or as the data of
/// a node. Content is never searched, since its sender could have written anything that looks like a
/// record into it.
struct RecordScan {
    enum Finding {
        /// A record that is what was written, and where in the file it begins.
        case whole(RecordHeader, [UInt8], offset: Int)
        /// There was a record, of this message as far as that is known.
        case damaged(MessageID?, [UInt8], RecordDamage)
        /// A page speaks of a record of this message, and it isn't there.
        case missing(MessageID)
    }

    private let free: FreePages
    private let visit: (Finding) -> Void

    /// Calls `visit` with everything that is found in the pages that aren't free.
    static func run(
        _ file: borrowing SpoolFile, free: FreePages, _ visit: @escaping (Finding) -> Void
    ) {
        RecordScan(free: free, visit: visit).run(file)
    }

    private func run(_ file: borrowing SpoolFile) {
        var number = 2
        while number < file.pageCount {
            guard !free.contains(number), let page = file.page(number) else {
                number += 1
                continue
            }
            switch page.kind {
            case .branch: number += 1
            case .leaf(let nodes):
                for node in nodes { look(at: node, in: page, of: file) }
                number += 1
            case .overflow(let pages): number += look(atOverflow: page, pages, of: file)
            case .unknown: number += look(atUnknown: page, of: file)
            }
        }
    }

    // MARK: - Pages whose header is sound

    private func look(
        at node: SpoolPage.Node, in page: SpoolPage, of file: borrowing SpoolFile
    ) {
        let key = RecordKey(page.octets.span.extracting(node.key))
        guard !node.isTable, let key else { return }
        if let target = node.overflowPage {
            // What is there is found there.
            let start = file.octets(
                RecordHeader.count, at: target * file.pageSize + SpoolPage.headerCount)
            if let start, RecordHeader.hasMagic(start.span) { return }
            if let data = file.data(of: node, in: page), FreePages.list(data) != nil { return }
            if free.isComplete { visit(.missing(key.messageID)) }
            return
        }
        let record = Array(page.octets[node.data])
        if !RecordHeader.hasMagic(record.span), FreePages.list(record) != nil { return }
        found(
            record, at: page.number * file.pageSize + node.data.lowerBound, key.messageID)
    }

    /// - Returns: how many pages have been dealt with.
    private func look(
        atOverflow page: SpoolPage, _ pages: Int, of file: borrowing SpoolFile
    ) -> Int {
        let offset = page.number * file.pageSize + SpoolPage.headerCount
        if let record = record(at: offset, of: file),
            let header = try? RecordHeader.verify(record.span)
        {
            visit(.whole(header, record, offset: offset))
            return self.pages(of: record.count, file)
        }
        // The number of pages can be relied on only where the page surely belongs to the tree.
        let extent = free.isComplete ? min(pages, file.pageCount - page.number) : 1
        let room = extent * file.pageSize - SpoolPage.headerCount
        guard let octets = file.octets(room, at: offset), !isFreeList(octets) else { return extent }
        let isRecord = RecordHeader.hasMagic(octets.span)
        let id = isRecord ? RecordHeader.id(octets.span) : nil
        visit(.damaged(id, octets, isRecord ? .wrongChecksum : .wrongMagic))
        return extent
    }

    /// A long list of free pages; behind it the page may hold anything.
    private func isFreeList(_ octets: [UInt8]) -> Bool {
        let count = octets.span.littleEndian(at: 0, as: UInt64.self)
        guard count > 0, count < UInt64(octets.count / 8) else { return false }
        return FreePages.list(Array(octets.prefix(8 + 8 * Int(count)))) != nil
    }

    // MARK: - Pages whose header isn't

    /// - Returns: how many pages have been dealt with.
    private func look(atUnknown page: SpoolPage, of file: borrowing SpoolFile) -> Int {
        let offset = page.number * file.pageSize + SpoolPage.headerCount
        if let record = record(at: offset, of: file),
            let header = try? RecordHeader.verify(record.span)
        {
            visit(.whole(header, record, offset: offset))
            return pages(of: record.count, file)
        }
        look(atNodesOf: page, of: file)
        return 1
    }

    /// Finds the nodes of a leaf whose header is lost: they lie without gaps up to the end of the page.
    /// What lies before them is left over from nodes that were moved or removed.
    private func look(atNodesOf page: SpoolPage, of file: borrowing SpoolFile) {
        let end = page.octets.count
        var found: [Int: SpoolPage.Node] = [:]
        for position in stride(
            from: end - SpoolPage.nodeHeaderCount, through: SpoolPage.headerCount, by: -2)
        {
            guard let node = page.leafNode(at: position), isPlausible(node, in: page, file),
                node.end == end || found[node.end] != nil
            else { continue }
            found[position] = node
        }
        // What is inside of a whole record is content, whatever it looks like: outer ones first. Damaged
        // ones come last, since what looks like one may be the rest of a node that was moved.
        var taken: [Range<Int>] = []
        for areWhole in [true, false] {
            for (position, node) in found.sorted(by: { $0.key < $1.key }) {
                let extent = position..<node.end
                guard let id = messageID(of: node, in: page),
                    !taken.contains(where: { $0.overlaps(extent) })
                else { continue }
                let record = Array(page.octets[node.data])
                let isWhole = (try? RecordHeader.verify(record.span)) != nil
                guard isWhole == areWhole else { continue }
                self.found(record, at: page.number * end + node.data.lowerBound, id)
                taken.append(extent)
            }
        }
    }

    private func isPlausible(
        _ node: SpoolPage.Node, in page: SpoolPage, _ file: borrowing SpoolFile
    ) -> Bool {
        guard let target = node.overflowPage else { return messageID(of: node, in: page) != nil }
        return !node.isTable && (node.key.count == 8 || node.key.count == 12)
            && node.count > 0 && (2..<file.pageCount).contains(target)
    }

    /// The message of a node that has a record for data which agrees with it in every respect but the
    /// checksum, which it may or may not pass.
    private func messageID(of node: SpoolPage.Node, in page: SpoolPage) -> MessageID? {
        guard !node.isTable, node.overflowPage == nil,
            let key = RecordKey(page.octets.span.extracting(node.key))
        else { return nil }
        let record = page.octets.span.extracting(node.data)
        guard RecordHeader.extent(record) == record.count, RecordHeader.id(record) == key.messageID
        else { return nil }
        return key.messageID
    }

    // MARK: -

    private func found(_ record: [UInt8], at offset: Int, _ id: MessageID) {
        do throws(RecordDamage) {
            let header = try RecordHeader.verify(record.span)
            guard header.id == id else { throw .wrongID(header.id) }
            visit(.whole(header, record, offset: offset))
        } catch {
            visit(.damaged(id, record, error))
        }
    }

    /// The octets that would be the record that begins there.
    private func record(at offset: Int, of file: borrowing SpoolFile) -> [UInt8]? {
        guard let start = file.octets(RecordHeader.count, at: offset),
            let count = RecordHeader.extent(start.span)
        else { return nil }
        return file.octets(count, at: offset)
    }

    private func pages(of count: Int, _ file: borrowing SpoolFile) -> Int {
        (SpoolPage.headerCount + count + file.pageSize - 1) / file.pageSize
    }
}
