import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization
import Testing

@testable import ElemtaQueue

/// What is acknowledged before it is in the tables, and comes there in whatever way the process ends.
@Suite struct JournalTests {
    private final class Journal {
        let directory: TestDirectory
        var file: JournalFile
        var sequence: UInt64 = 0
        var lengths: [Int] = []

        private init(_ directory: TestDirectory, _ file: consuming JournalFile) {
            self.directory = directory
            self.file = file
        }

        static func begun(limit: Int = 1 << 20) throws -> Journal {
            let directory = try TestDirectory()
            try FileSystem.makeDirectory(directory.queue)
            return Journal(directory, try JournalTests.begun(in: directory.queue, limit: limit))
        }

        /// Appends a batch of messages with these contents.
        func append(_ contents: [[UInt8]], applied: UInt64 = 0) throws -> Bool {
            var batch = JournalBatch()
            for (index, content) in contents.enumerated() {
                let number = sequence + UInt64(index) + 1
                let envelope = Envelope(
                    id: MessageID(rawValue: number), arrival: UnixTime(seconds: 1),
                    client: ClientTrace(heloName: [], address: nil, protocolName: "SMTP"),
                    transaction: MailTransaction(reversePath: .null, recipients: []),
                    summary: ContentSummary(octetCount: UInt64(content.count)))
                try batch.add(envelope, ContentOctets(content), number, key: file.key)
            }
            lengths.append(batch.count)
            batch.fillPage()
            guard try file.append(batch, applied: applied) else { return false }
            sequence += UInt64(contents.count)
            return true
        }

        func entries(behind applied: UInt64 = 0) throws -> JournalEntries {
            try JournalEntries(in: directory.queue, behind: applied)
        }

        func contents(after applied: UInt64 = 0) throws -> [[UInt8]] {
            try entries(behind: applied).submissions.map { element in
                guard case .inMemory(let content)? = element.submission?.content else { return [] }
                var octets: [UInt8] = []
                content.forEachSegment { octets += $0.copied }
                return octets
            }
        }

        func change(_ offset: Int, _ octets: [UInt8]) throws {
            let file = try OpenFile(JournalFile.path(in: directory.queue), O_WRONLY)
            try file.write(octets.span, at: offset)
        }

        func octets() throws -> [UInt8] { try readFile(JournalFile.path(in: directory.queue)) }
    }

    // MARK: - The file

    @Test("What was appended is read, what is in the tables is not")
    func reading() throws {
        let journal = try Journal.begun()
        #expect(try journal.contents().isEmpty)
        #expect(try journal.append([pattern(10), pattern(0)]))
        #expect(try journal.append([pattern(5000), pattern(4096), pattern(32_768)]))
        #expect(try journal.contents().map(\.count) == [10, 0, 5000, 4096, 32_768])
        #expect(try journal.contents(after: 2) == [pattern(5000), pattern(4096), pattern(32_768)])
        #expect(try journal.contents(after: 5).isEmpty)
    }

    @Test("Whichever octet of the last batch is damaged, those before it are read and nothing else")
    func damagedTail() throws {
        let journal = try Journal.begun()
        #expect(try journal.append([pattern(100), pattern(200)]))
        #expect(try journal.append([pattern(300)]))
        let start = 2 * JournalLayout.pageCount
        let whole = try journal.octets()
        for offset in 0..<journal.lengths[1] {
            let octet = whole[start + offset]
            try journal.change(start + offset, [octet ^ 0x40])
            #expect(try journal.contents() == [pattern(100), pattern(200)], "octet \(offset)")
            try journal.change(start + offset, [octet])
        }
        #expect(try journal.contents().count == 3)
    }

    @Test("What a power loss left of the last batch is whole messages, and no damage")
    func tornBatch() throws {
        let journal = try Journal.begun()
        #expect(try journal.append([pattern(10)]))
        #expect(try journal.append([pattern(9_000), pattern(20)]))
        // Its second page is still zeros; the last one, with all of the second message, is there.
        try journal.change(3 * JournalLayout.pageCount, [UInt8](repeating: 0, count: 4096))
        let entries = try journal.entries()
        #expect(entries.submissions.map(\.sequence) == [1])
        #expect(entries.missing == 0)
    }

    @Test("Damage before the last batch is told, and costs nobody else's message")
    func damage() throws {
        let journal = try Journal.begun()
        for count in 1...9 { #expect(try journal.append([pattern(100 * count)])) }
        for batch in [3, 4, 7] {
            try journal.change(batch * JournalLayout.pageCount + 200, [1, 2, 3])
        }
        let entries = try journal.entries()
        #expect(entries.submissions.map(\.sequence) == [1, 2, 5, 6, 8, 9])
        #expect(entries.missing == 3)
        #expect(try journal.entries(behind: 2).missing == 3)
        #expect(try journal.entries(behind: 3).missing == 2)
        #expect(try journal.entries(behind: 7).missing == 0)
    }

    @Test("A half is written again only when all it holds is in the tables")
    func halves() throws {
        let journal = try Journal.begun(limit: 512 << 10)
        let large = pattern(30_000)
        var count: UInt64 = 0
        while try journal.append([large]) { count += 1 }
        // Both halves are full of what isn't in the tables.
        #expect(count == 16)
        #expect(try journal.contents().count == 16)
        #expect(try !journal.append([large], applied: 7))
        #expect(try journal.append([large], applied: 8))
        #expect(try journal.contents(after: 8).count == 9)
        // What lies behind the new entry in its half are older ones.
        #expect(try journal.contents(after: 0).count == 9)
        #expect(try journal.append([pattern(1)], applied: 17))
        #expect(try journal.contents(after: 17) == [pattern(1)])
    }

    @Test("A new journal has nothing of the one before it, whatever clients wrote into that")
    func keys() throws {
        let journal = try Journal.begun()
        #expect(try journal.append([pattern(50)]))
        // Content that looks like entries of this very journal, from a page's beginning on.
        let entries = Array(try journal.octets()[JournalLayout.pageCount..<(2 * 4096)])
        #expect(try journal.append([entries + entries + entries]))
        #expect(try journal.append([entries]))
        #expect(try journal.contents().count == 3)
        let applied = journal.sequence
        let next = try Self.begun(in: journal.directory.queue, limit: 1 << 20, applied: applied).key
        #expect(next != journal.file.key)
        #expect(try journal.contents(after: 0).isEmpty)
    }

    @Test("A file that isn't a journal holds nothing", arguments: [0, 10, 4096, 1 << 20])
    func nonsense(count: Int) throws {
        let directory = try TestDirectory()
        try FileSystem.makeDirectory(directory.queue)
        try writeFile(pattern(count), JournalFile.path(in: directory.queue))
        #expect(try JournalEntries(in: directory.queue, behind: 0).submissions.isEmpty)
        _ = try Self.begun(in: directory.queue, limit: 1 << 20, applied: 3).key
        #expect(try readFile(JournalFile.path(in: directory.queue)).count == 4096 + 1 << 20)
    }

    @Test("Content that isn't as long as it says leaves the batch as it was")
    func mismatch() throws {
        var batch = JournalBatch()
        let fixture = try SpoolFixture(try TestDirectory(), isStarted: false)
        try batch.add(try fixture.envelope(), ContentOctets([1]), 1, key: 7)
        let octets = batch.octets
        #expect(throws: SpoolError.contentMismatch) {
            try batch.add(try fixture.envelope(), Liar(claiming: 5, having: 4), 2, key: 7)
        }
        #expect(batch.octets == octets)
        #expect(batch.last == 1)
    }

    // MARK: - The spool

    /// A journal is begun once the spool has been brought back; until then messages wait for commits.
    ///
    /// - Returns: how many messages were accepted; all of them are in the tables.
    private func acceptUntilJournaled(_ fixture: SpoolFixture) throws -> Int {
        var count = 0
        while fixture.spool.shared.journaled.load(ordering: .acquiring) == 0 {
            try fixture.acceptIntoTables()
            count += 1
            try #require(count < 100_000)
        }
        return count
    }

    /// Accepts messages while nothing can be written to the tables, and leaves the queue as a crash
    /// would then.
    private func crashed(
        _ count: Int
    ) throws -> (directory: TestDirectory, before: Int, ids: [MessageID]) {
        var before = 0
        let directory = try TestDirectory()
        var ids: [MessageID] = []
        do {
            let fixture = try SpoolFixture(directory)
            before = try acceptUntilJournaled(fixture)
            // The spool thread can't finish its turn, and takes nothing more.
            let gate = Locked(())
            let entered = Inbox<Void>()
            let image = directory.path + "/image"
            try gate.withLock { _ in
                fixture.spool.perform(.release, on: .ids([])) { _ in
                    entered.post(())
                    gate.withLock { _ in }
                }
                _ = entered.take()
                for number in 0..<count { ids.append(try fixture.accept("message \(number)")) }
                try FileSystem.makeDirectory(image)
                for name in ["spool.mdb", "journal"] {
                    try writeFile(
                        try readFile("\(directory.queue)/\(name)"), "\(image)/\(name)")
                }
            }
            fixture.spool.stop()
            try FileSystem.move(directory.queue, to: directory.path + "/old")
            try FileSystem.move(image, to: directory.queue)
        }
        return (directory, before, ids)
    }

    @Test("A crash before the tables have it: the next start brings it there, in order")
    func crash() throws {
        let (directory, before, ids) = try crashed(20)
        let fixture = try SpoolFixture(directory)
        let report = try fixture.event { event in
            if case .recovered(let report) = event { report } else { nil }
        }
        #expect(report.messages == before + 20)
        #expect(try fixture.spool.list().messages.map(\.id).suffix(20) == ids[...])
        for (number, id) in ids.enumerated() {
            #expect(try fixture.spool.read(id).octets == Array("message \(number)".utf8))
        }
        _ = try fixture.work(before + 20)
        #expect(try fixture.accept() > ids[19])
        fixture.spool.stop()
        // And once only.
        let again = try SpoolFixture(directory)
        #expect(try again.spool.list().messages.count == before + 21)
    }

    @Test("What was delivered after a crash isn't brought in again by the next")
    func onceOnly() throws {
        let (directory, before, _) = try crashed(3)
        let copy = try readFile(directory.queue + "/journal")
        do {
            let fixture = try SpoolFixture(directory) { $0.journalLimit = 0 }
            for item in try fixture.work(before + 3) {
                fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
            }
            fixture.spool.stop()
        }
        // The same journal, as if there had been no time to begin another.
        try writeFile(copy, directory.queue + "/journal")
        let fixture = try SpoolFixture(directory)
        #expect(try fixture.spool.list().messages.isEmpty)
    }

    @Test("An operation on a stopped server finds what only the journal has")
    func stoppedServer() throws {
        let (directory, _, ids) = try crashed(3)
        var options = SpoolOptions(path: directory.queue, hostname: "mail.example.com")
        options.mapSize = 1 << 30
        let spool = try Spool.open(options, for: .changing)
        #expect(try spool.list().messages.map(\.id).suffix(3) == ids[...])
        spool.perform(.delete, on: .ids([ids[1]])) { _ in }
        spool.stop()
        let fixture = try SpoolFixture(directory)
        #expect(try fixture.spool.list().messages.map(\.id).suffix(2) == [ids[0], ids[2]])
    }

    @Test("A salvaged spool gets what only the journal has")
    func salvaged() throws {
        let (directory, _, ids) = try crashed(3)
        let path = directory.queue + "/spool.mdb"
        let whole = try readFile(path)
        // Both pages that say where the tables are.
        try writeFile([UInt8](repeating: 0, count: 8192) + whole[8192...], path)
        let fixture = try SpoolFixture(directory)
        let found = try fixture.spool.list().messages.map(\.id)
        #expect(Set(ids).isSubset(of: found))
    }

    @Test("A damaged entry costs its message alone; a copy of the journal goes to quarantine")
    func damagedEntry() throws {
        let (directory, _, ids) = try crashed(5)
        let path = directory.queue + "/journal"
        var octets = try readFile(path)
        let content = Array("message 2".utf8)
        let place = try #require(
            octets.indices.first { octets[$0...].starts(with: content) })
        octets[place] ^= 1
        try writeFile(octets, path)
        let fixture = try SpoolFixture(directory)
        let reason = try fixture.event { event in
            if case .quarantined("journal", let reason) = event { reason } else { nil }
        }
        #expect(reason.hasPrefix("1 "))
        let found = try fixture.spool.list().messages.map(\.id)
        #expect(found.suffix(4) == [ids[0], ids[1], ids[3], ids[4]])
        #expect(try readFile(directory.queue + "/quarantine/journal") == octets)
    }

    @Test("Who has heard 250 and looks at once finds the message")
    func visibleAtOnce() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        for _ in 0..<50 {
            let id = try fixture.accept()
            #expect(try fixture.spool.show(id).id == id)
            #expect(try fixture.spool.list().messages.last?.id == id)
        }
        let id = try fixture.accept()
        #expect(try fixture.spool.read(id).envelope.id == id)
    }

    @Test("What the journal has is acknowledged though the tables can't be written, and gets there")
    func brokenTables() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let before = try acceptUntilJournaled(fixture)
        let path = fixture.directory.queue + "/spool.mdb"
        let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
        for descriptor in try descriptors(of: path) where descriptor != readOnly {
            #expect(dup2(readOnly, descriptor) == descriptor)
        }
        close(readOnly)
        let id = try fixture.accept()
        _ = try fixture.event { event in
            if case .reopened = event { true } else { nil }
        }
        #expect(try fixture.spool.list().messages.count == before + 1)
        #expect(try fixture.spool.read(id).envelope.id == id)
        _ = try fixture.work(before + 1)
    }

    @Test("A journal that can't be written ends, and each message waits for a commit")
    func brokenJournal() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let before = try acceptUntilJournaled(fixture)
        let path = fixture.directory.queue + "/journal"
        let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
        for descriptor in try descriptors(of: path) where descriptor != readOnly {
            #expect(dup2(readOnly, descriptor) == descriptor)
        }
        close(readOnly)
        let ids = [try fixture.accept(), try fixture.accept()]
        _ = try fixture.event { event in
            if case .journalFailed = event { true } else { nil }
        }
        #expect(try fixture.spool.list().messages.map(\.id).suffix(2) == ids[...])
        // What was written and not synced isn't brought in by any start.
        #expect(fixture.spool.shared.applied.load(ordering: .acquiring) >= 2)
        fixture.spool.stop()
        let next = try SpoolFixture(fixture.directory)
        #expect(try next.spool.list().messages.count == before + 2)
    }

    private static func begun(
        in queue: String, limit: Int, applied: UInt64 = 0
    ) throws -> JournalFile {
        guard let file = try JournalFile.begin(in: queue, limit: limit, applied: applied) else {
            throw SpoolError.full
        }
        return file
    }
}
