import ElemtaSMTP
import Glibc
import Testing

@testable import ElemtaQueue

/// Damage to the pages of LMDB itself.
@Suite struct SalvageTests {
    // MARK: - A spool

    /// What was in a spool before it was damaged.
    struct Filled {
        let directory: TestDirectory
        /// Queued messages with the octets of their content.
        var queued: [MessageID: Int] = [:]
        var delivered: Set<MessageID> = []

        var file: String { directory.queue + "/spool.mdb" }
    }

    private static let sizes = [300, 3000, 20_000, 600, 70_000, 8500]
    private static let patterns = Dictionary(
        uniqueKeysWithValues: sizes.map { ($0, ElemtaQueueTests.pattern($0)) })

    private static func pattern(of size: Int) -> [UInt8] { patterns[size] ?? [] }

    /// A spool with messages of every kind, some delivered meanwhile, so that old records lie about.
    ///
    /// - Parameter isKilled: as if the process had been killed.
    private func filled(count: Int = 300, isKilled: Bool = true) throws -> Filled {
        var filled = Filled(directory: try TestDirectory())
        let fixture = try SpoolFixture(filled.directory)
        for _ in 0..<2 {
            for number in 0..<count {
                let envelope = try fixture.envelope()
                let size = Self.sizes[number % Self.sizes.count]
                filled.queued[envelope.id] = size
                fixture.spool.accept(
                    Submission(
                        token: 1, envelope: envelope,
                        content: try content(size, of: envelope, in: fixture)))
            }
            var answers = 0
            while answers < count { answers += try fixture.allAnswers().count }
            for (number, item) in try fixture.work(count).enumerated() where number % 3 == 0 {
                fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
                filled.queued[item.id] = nil
                filled.delivered.insert(item.id)
            }
        }
        fixture.spool.stop()
        if isKilled { try FileSystem.remove(filled.directory.queue + "/clean") }
        return filled
    }

    private func content(
        _ size: Int, of envelope: Envelope, in fixture: SpoolFixture
    ) throws -> SubmittedContent {
        let octets = Self.pattern(of: size)
        guard size > 65536 else { return .inMemory(ContentOctets(octets)) }
        let writer = fixture.spool.contentFile(for: envelope)
        try writer.begin()
        try writer.append(octets.span)
        return .file(try writer.finish())
    }

    // MARK: - Its damage

    struct Damage: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Whether the spool as a whole is damaged.
        var isWhole = true
        /// Whether every queued message comes back.
        var savesAll = true
        /// Whether it is known which pages are old ones; nil: that depends on where they lie.
        var isExact: Bool? = true
        /// Whether it may be that a message which was delivered comes back.
        var mayRepeat = false
        let apply: @Sendable (Filled) throws -> Void
    }

    static let damages: [Damage] = [
        Damage(testDescription: "none", isWhole: false) { _ in },
        Damage(testDescription: "leaf-page headers of content", mayRepeat: true) { filled in
            try overwrite(filled, pages(of: filled, .contents), 0..<16)
        },
        // What was removed from a leaf lies in it still.
        Damage(testDescription: "three leaf-page headers", mayRepeat: true) { filled in
            try overwrite(filled, pages(of: filled, .envelopes).prefix(3), 0..<16)
        },
        Damage(testDescription: "the beginnings of three leaf pages", mayRepeat: true) { filled in
            try overwrite(filled, pages(of: filled, .envelopes).suffix(3), 0..<100, with: 0xA5)
        },
        Damage(testDescription: "branch pages") { filled in
            try overwrite(filled, pages(of: filled, .branches), 0..<4096)
        },
        Damage(testDescription: "half of the file cut off", savesAll: false, isExact: nil) {
            filled in
            let half = try readFile(filled.file).count / 2
            #expect(unsafe truncate(filled.file, off_t(half)) == 0)
        },
        Damage(testDescription: "both meta pages", isExact: false) { filled in
            try overwrite(filled, [0, 1], 0..<4096)
        },
        Damage(testDescription: "the later meta page", isExact: false) { filled in
            let file = try SpoolFile(filled.file)
            let meta = try #require(file.metas.first)
            let later = meta.transaction & 1
            try overwrite(filled, [Int(later)], 0..<4096)
        },
        Damage(testDescription: "the list of free pages", isExact: false) { filled in
            try overwrite(filled, pages(of: filled, .freeList), 0..<4096)
        },
        Damage(testDescription: "40 zeroed pages", savesAll: false) { filled in
            // Without those two it could be only guessed what was there.
            let file = try SpoolFile(filled.file)
            let guides = try pages(of: filled, .freeList) + file.metas.compactMap(\.mainTree.root)
            let used = try pages(of: filled, .used).filter { !guides.contains($0) }
            let step = used.count / 40
            try overwrite(filled, (0..<40).map { used[$0 * step] }, 0..<4096)
        },
        Damage(testDescription: "a flipped bit in a record", isWhole: false, savesAll: false) {
            filled in
            let pages = try pages(of: filled, .pieces)
            let page = try #require(pages.last)
            try overwrite(filled, [page], 1000..<1001, with: nil)
        },
    ]

    enum PageSort {
        case envelopes, contents, branches, freeList, pieces, used
    }

    /// The pages of a sort that are in use.
    private static func pages(of filled: Filled, _ sort: PageSort) throws -> [Int] {
        let file = try SpoolFile(filled.file)
        let free = FreePages(file)
        try #require(free.isComplete)
        return (2..<file.pageCount).filter { number in
            guard !free.contains(number), let page = file.page(number) else { return false }
            switch (page.kind, sort) {
            case (_, .used), (.branch, .branches): return true
            case (.leaf(let nodes), .envelopes):
                return nodes.contains {
                    $0.overflowPage == nil && $0.key.count == 8
                        && RecordHeader.extent(page.octets.span.extracting($0.data)) ?? 0 > 100
                }
            case (.leaf(let nodes), .contents): return nodes.contains { $0.key.count == 12 }
            case (.leaf(let nodes), .freeList):
                return nodes.contains {
                    $0.key.count == 8 && !$0.isTable
                        && file.data(of: $0, in: page).flatMap(FreePages.list) != nil
                }
            case (.overflow, .pieces): return page.octets[20] == RecordKind.piece.rawValue
            default: return false
            }
        }
    }

    /// Writes over a range of each page; without a value it flips a bit.
    private static func overwrite(
        _ filled: Filled, _ pages: some Sequence<Int>, _ range: Range<Int>, with octet: UInt8? = 0
    ) throws {
        var octets = try readFile(filled.file)
        var count = 0
        for page in pages {
            for place in range {
                octets[page * 4096 + place] = octet ?? octets[page * 4096 + place] ^ 4
            }
            count += 1
        }
        try #require(count > 0)
        try writeFile(octets, filled.file)
    }

    // MARK: - What comes of it

    @Test(
        "What is whole in a damaged spool is served, and what isn't is named", arguments: damages)
    func salvage(damage: Damage) throws {
        let filled = try filled()
        try damage.apply(filled)
        let fixture = try SpoolFixture(filled.directory) {
            $0.checker = SpoolChecker(executable: spoolLoad, arguments: ["check"])
        }
        let (salvaged, named) = try story(fixture)
        #expect((salvaged != nil) == damage.isWhole)
        let back = Set(try fixture.spool.list(limit: .max).messages.map(\.id))
        for id in back {
            guard let size = filled.queued[id] else { continue }
            let isWhole = try fixture.spool.read(id).octets == Self.pattern(of: size)
            #expect(isWhole, "\(id)")
        }
        let queued = Set(filled.queued.keys)
        if damage.savesAll { #expect(back.isSuperset(of: queued)) }
        if damage.isExact == true, !damage.mayRepeat {
            #expect(back.isDisjoint(with: filled.delivered))
        }
        // Nothing is lost without a word.
        let silent = queued.subtracting(back).subtracting(named)
        let lost = salvaged.map { $0.lost ?? .max } ?? 0
        #expect(silent.count <= lost)
        if let isExact = damage.isExact {
            #expect((lost == .max) == !isExact)
            #expect(salvaged?.mayRepeat ?? false == !isExact)
        }
        // The new spool is as good as any.
        try fixture.accept()
        fixture.spool.stop()
        let again = try SpoolFixture(filled.directory)
        #expect(try story(again).salvaged == nil)
        #expect(try again.spool.list(limit: .max).messages.count == back.count + 1)
        if damage.isWhole {
            #expect(FileSystem.exists(filled.directory.queue + "/quarantine/spool.mdb"))
        }
    }

    /// What a start says until the queue is back: whether it was salvaged, and the messages that it
    /// names as damaged or lost.
    private func story(
        _ fixture: SpoolFixture
    ) throws -> (salvaged: SalvageReport?, named: Set<MessageID>) {
        var salvaged: SalvageReport?
        var named: Set<MessageID> = []
        _ = try fixture.event { event in
            switch event {
            case .salvaged(let report): salvaged = report
            case .quarantined(let name, _): if let id = MessageID(name) { named.insert(id) }
            case .lost(let id): named.insert(id)
            case .recovered: return true
            default: break
            }
            return nil
        }
        return (salvaged, named)
    }

    /// Makes the last child of each branch page of a table a page beyond the end: LMDB says so, and
    /// goes on living.
    private func misleadBranches(_ filled: Filled, ofEnvelopes isWanted: Bool) throws {
        let envelopes = Set(try Self.pages(of: filled, .envelopes))
        let file = try SpoolFile(filled.file)
        for number in try Self.pages(of: filled, .branches) {
            guard let page = file.page(number), case .branch(let targets) = page.kind,
                envelopes.isDisjoint(with: targets) != isWanted
            else { continue }
            let place = 16 + 2 * (targets.count - 1)
            let node = Int(page.octets.span.littleEndian(at: place, as: UInt16.self))
            try Self.overwrite(filled, [number], node + 2..<node + 3, with: 0x7F)
        }
    }

    @Test("A spool that was closed in good order isn't looked at, and mended all the same")
    func damageAfterCleanStop() throws {
        let filled = try filled(isKilled: false)
        try misleadBranches(filled, ofEnvelopes: true)
        let fixture = try SpoolFixture(filled.directory)
        let (salvaged, _) = try story(fixture)
        #expect(salvaged?.saved == filled.queued.count)
        let back = Set(try fixture.spool.list(limit: .max).messages.map(\.id))
        #expect(back == Set(filled.queued.keys))
        try fixture.accept()
    }

    @Test("Damage that is found while mail is accepted is mended by the next start")
    func damageFoundLater() throws {
        let filled = try filled(isKilled: false)
        try misleadBranches(filled, ofEnvelopes: false)
        let fixture = try SpoolFixture(filled.directory)
        #expect(try story(fixture).salvaged == nil)
        for _ in 0..<2 {
            let error = #expect(throws: SpoolError.self) { try fixture.accept() }
            guard case .unreadable? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
        _ = try fixture.event { event in
            if case .suspected = event { true } else { nil }
        }
        fixture.spool.stop()
        let again = try SpoolFixture(filled.directory)
        #expect(try story(again).salvaged?.saved == filled.queued.count)
        try again.accept()
    }

    @Test("A record that a sender has written into a message is content, whatever is damaged")
    func forgedRecord() throws {
        let filled: Filled
        let forged = MessageID(rawValue: 1 << 60)
        do {
            let fixture = try SpoolFixture(try TestDirectory())
            var envelope = try fixture.envelope(to: ["victim@elsewhere.example"])
            envelope.id = forged
            envelope.contentOctets = 0
            var writer = OctetWriter()
            EnvelopeCodec.encode(envelope, place: .inline, into: &writer)
            var record = [UInt8](repeating: 0, count: RecordHeader.count) + writer.octets
            if record.count % 2 != 0 { record.append(0) }
            let header = RecordHeader(
                kind: .envelope, id: forged, part: 0,
                length: UInt32(record.count - RecordHeader.count))
            unsafe record.withUnsafeMutableBytes { unsafe header.seal($0) }
            // As a node of LMDB, over and over.
            let node =
                [UInt8(record.count & 0xFF), UInt8(record.count >> 8), 0, 0, 0, 0, 8, 0]
                + [0x10, 0, 0, 0, 0, 0, 0, 0] + record
            #expect(
                try RecordHeader.verify(record.span, is: .envelope, of: forged).kind == .envelope)
            var queued: [MessageID: Int] = [:]
            for count in [1, 12, 60] {
                for shift in 0..<2 {
                    let content =
                        [UInt8](repeating: 0x78, count: shift)
                        + (0..<count).flatMap { _ in node }
                    queued[try fixture.accept(try fixture.envelope(), content)] = content.count
                }
            }
            fixture.spool.stop()
            try FileSystem.remove(fixture.directory.queue + "/clean")
            filled = Filled(directory: fixture.directory, queued: queued)
        }
        try Self.overwrite(filled, Self.pages(of: filled, .used), 0..<16)
        let fixture = try SpoolFixture(filled.directory) {
            $0.checker = SpoolChecker(executable: spoolLoad, arguments: ["check"])
        }
        #expect(try story(fixture).salvaged != nil)
        let back = Set(try fixture.spool.list(limit: .max).messages.map(\.id))
        #expect(back == Set(filled.queued.keys))
    }

    @Test("Who only looks at a damaged spool, or changes it, is told so and leaves it as it is")
    func lookingAtDamage() throws {
        let filled = try filled(count: 30)
        try Self.overwrite(filled, [0, 1], 0..<4096)
        let octets = try readFile(filled.file)
        let options = SpoolOptions(
            path: filled.directory.queue, hostname: "mail.example.com",
            checker: SpoolChecker(executable: spoolLoad, arguments: ["check"]))
        for purpose in [SpoolPurpose.looking, .changing] {
            let error = #expect(throws: SpoolError.self) {
                try Spool.open(options, for: purpose)
            }
            guard case .unreadable? = error else {
                Issue.record("\(purpose): \(String(describing: error))")
                continue
            }
        }
        #expect(try readFile(filled.file) == octets)
        #expect(filled.directory.files(in: "quarantine") == [])
    }

    @Test("A check that can't be made is no damage: the spool stays as it is")
    func checkThatFails() throws {
        let filled = try filled(count: 10)
        for program in ["/nonexistent", "/bin/false-or-not-there"] {
            #expect(throws: SpoolError.self) {
                try SpoolFixture(filled.directory) {
                    $0.checker = SpoolChecker(executable: program, arguments: [])
                }
            }
        }
        let fixture = try SpoolFixture(filled.directory)
        #expect(try story(fixture).salvaged == nil)
    }

    @Test("Looking at 20,000 messages after an unclean stop takes little time")
    func startAfterUncleanStop() throws {
        let directory = try TestDirectory()
        let count = 20_000
        do {
            let fixture = try SpoolFixture(directory)
            let content = ContentOctets([UInt8](repeating: 0x78, count: 1500))
            for _ in 0..<count {
                fixture.spool.accept(
                    Submission(
                        token: 1, envelope: try fixture.envelope(), content: .inMemory(content)))
            }
            var answers = 0
            while answers < count { answers += try fixture.allAnswers().count }
            fixture.spool.stop()
        }
        var times: [Duration] = []
        for isClean in [true, false] {
            if !isClean { try FileSystem.remove(directory.queue + "/clean") }
            let begin = ContinuousClock.now
            let fixture = try SpoolFixture(directory) {
                $0.checker = SpoolChecker(executable: spoolLoad, arguments: ["check"])
            }
            _ = try story(fixture)
            times.append(.now - begin)
            #expect(try fixture.spool.statistics().messages == count)
            fixture.spool.stop()
        }
        print("\(count) messages: open after \(times[0]), unclean after \(times[1])")
        #expect(times[1] < .seconds(30))
    }
}
