import ElemtaSMTP
import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaQueue

/// Too little room, too many owners, submissions that are wrong in themselves.
@Suite struct RoomTests {
    @Test("A second opener is told who holds the queue; after a stop it is free")
    func secondOpener() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        #expect(throws: SpoolError.held(by: getpid())) { try SpoolFixture(fixture.directory) }
        fixture.spool.stop()
        _ = try SpoolFixture(fixture.directory)
    }

    @Test("A directory that everybody writes to is refused and left as it is")
    func sharedDirectory() throws {
        let directory = try TestDirectory()
        try FileSystem.makeDirectory(directory.queue)
        #expect(unsafe chmod(directory.queue, 0o1777) == 0)
        #expect(throws: SpoolError.self) { try SpoolFixture(directory) }
        #expect(directory.files(in: "") == [])
    }

    @Test("A content directory that somebody made is synced before anybody writes into it")
    func contentDirectories() throws {
        let directory = try TestDirectory()
        let fixture = try SpoolFixture(directory, isStarted: false)
        let synced = TestCounter()
        let directories = ContentDirectories(queue: directory.queue) { path in
            #expect(path == directory.queue + "/content")
            _ = synced.next()
        }
        let envelope = try fixture.envelope()
        func write(_ envelope: Envelope) throws {
            let writer = ContentFileWriter(
                queue: directory.queue, directories: directories, envelope: envelope, generation: 1)
            try writer.begin()
        }
        try directories.syncAll()
        #expect(synced.next() == 1)
        // As another thread that has not come to syncing it yet.
        try FileSystem.makeDirectory(ContentFileLayout.directory(directory.queue, envelope.id))
        try write(envelope)
        #expect(synced.next() == 3)
        // From then on it is known.
        try write(envelope)
        #expect(synced.next() == 4)
    }

    @Test("A content directory whose name couldn't be synced is made anew before it is used")
    func contentDirectoryThatIsNotSynced() throws {
        let directory = try TestDirectory()
        let fixture = try SpoolFixture(directory, isStarted: false)
        let failures = TestCounter()
        let directories = ContentDirectories(queue: directory.queue) { path throws(FileError) in
            guard failures.next() > 0 else { throw FileError(operation: "fsync", code: EIO) }
        }
        let id = try fixture.envelope().id
        #expect(throws: FileError.self) { try directories.prepare(for: id) }
        #expect(directory.files(in: "content") == [])
        try directories.prepare(for: id)
        #expect(directory.files(in: "content") == ["\(id)".suffix(2)].map { "\($0)" })
    }

    @Test(
        "A directory of somebody else's is refused and left as it is",
        arguments: [
            (["index.html"], false), (["content", "passwd"], false), (["other.mdb"], false),
            ([], true), (["lost+found", ".gitkeep", "elemta.log"], true), (["lock"], true),
            (["spool.mdb", "mine.txt"], true),
        ] as [([String], Bool)])
    func foreignDirectory(names: [String], isTaken: Bool) throws {
        let directory = try TestDirectory()
        try FileSystem.makeDirectory(directory.queue)
        for name in names { try writeFile([], "\(directory.queue)/\(name)") }
        #expect(unsafe chmod(directory.queue, 0o755) == 0)
        if isTaken {
            _ = try SpoolFixture(directory, isStarted: false)
            return
        }
        #expect(throws: SpoolError.self) { try SpoolFixture(directory, isStarted: false) }
        #expect(throws: SpoolError.self) { _ = try QueueLock(directory.queue) }
        #expect(directory.files(in: "") == names.sorted())
        var status = stat()
        #expect(unsafe stat(directory.queue, &status) == 0 && status.st_mode & 0o777 == 0o755)
    }

    @Test("Who only looks makes and writes nothing but the file in which LMDB notes readers")
    func looking() throws {
        let directory = try TestDirectory()
        let options = SpoolOptions(
            path: directory.queue, hostname: "mail.example.com", mapSize: 1 << 30)
        for purpose in [SpoolPurpose.looking, .changing] {
            #expect(throws: SpoolError.noQueue(directory.queue)) {
                try Spool.open(options, for: purpose)
            }
            #expect(!FileSystem.exists(directory.queue))
        }
        let content = pattern(20_000)
        let id: MessageID
        do {
            let fixture = try SpoolFixture(directory)
            id = try fixture.accept(try fixture.envelope(), content)
            #expect(throws: SpoolError.held(by: getpid())) {
                try Spool.open(options, for: .looking)
            }
            fixture.spool.stop()
        }
        try FileSystem.remove(directory.queue + "/spool.mdb-lock")
        let names = directory.files(in: "")
        let octets = try readFile(directory.queue + "/spool.mdb")
        for _ in 0..<2 {
            let spool = try Spool.open(options, for: .looking)
            #expect(try spool.list().messages.map(\.id) == [id])
            #expect(try spool.read(id).octets == content)
            #expect(try spool.statistics().messages == 1)
            spool.stop()
        }
        #expect(directory.files(in: "") == (names + ["spool.mdb-lock"]).sorted())
        #expect(try readFile(directory.queue + "/spool.mdb") == octets)
    }

    @Test("Nobody else can look into the queue")
    func modes() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        try fixture.accept()
        func mode(_ name: String) -> mode_t {
            var status = stat()
            unsafe stat(fixture.directory.queue + name, &status)
            return status.st_mode & 0o777
        }
        for name in ["", "/content", "/quarantine"] { #expect(mode(name) == 0o700, "\(name)") }
        for name in ["/spool.mdb", "/spool.mdb-lock", "/lock", "/reserve"] {
            #expect(mode(name) == 0o600, "\(name)")
        }
    }

    @Test(
        "A submission that is wrong in itself is refused alone",
        arguments: [
            (100, 99), (100, 101), (0, 1), (9000, 8000), (9000, 8096), (9000, 9001),
            (8096, 9000), (9000, 0),
        ])
    func wrongSize(claimed: Int, actual: Int) throws {
        // Not started yet, so that all are in one batch.
        let fixture = try SpoolFixture(try TestDirectory(), isStarted: false)
        let envelopes = try (0..<3).map { _ in try fixture.envelope() }
        let contents: [any SpoolContent] = [
            ContentOctets(pattern(9000)), Liar(claiming: claimed, having: actual),
            Liar(claiming: 8096, having: 8096),
        ]
        for (envelope, content) in zip(envelopes, contents) {
            fixture.spool.accept(
                Submission(
                    token: envelope.id.rawValue, envelope: envelope, content: .inMemory(content)))
        }
        try fixture.start()
        var results: [Result<MessageID, SpoolError>] = []
        while results.count < 3 { results += try fixture.allAnswers().map(\.result) }
        #expect(
            results == [
                .success(envelopes[0].id), .failure(.contentMismatch),
                .success(envelopes[2].id),
            ])
        #expect(try fixture.spool.list().messages.map(\.id) == [envelopes[0].id, envelopes[2].id])
        #expect(try fixture.spool.read(envelopes[0].id).octets == pattern(9000))
        #expect(try fixture.spool.read(envelopes[2].id).octets == pattern(8096))
        #expect(throws: SpoolError.unknownMessage(envelopes[1].id)) {
            try fixture.spool.read(envelopes[1].id)
        }
    }

    @Test("The same id twice is refused the second time, and the first message is untouched")
    func duplicate() throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.journalLimit = 0 }
        let envelope = try fixture.envelope()
        try fixture.accept(envelope, [1])
        #expect(throws: SpoolError.duplicate(envelope.id)) {
            try fixture.accept(envelope, [2])
        }
        #expect(try fixture.spool.read(envelope.id).octets == [1])
    }

    /// Accepts until that is refused.
    private func fill(_ fixture: SpoolFixture, limit: Int = 5000) throws -> [MessageID] {
        var ids: [MessageID] = []
        while ids.count < limit {
            let envelope = try fixture.envelope()
            fixture.spool.accept(
                Submission(
                    token: 0, envelope: envelope, content: .inMemory(ContentOctets(pattern(60_000)))
                ))
            switch try #require(try fixture.answer()).result {
            case .success(let id): ids.append(id)
            case .failure(let error):
                #expect(error == .full)
                return ids
            }
        }
        return ids
    }

    /// A full spool delivers what it has and then takes mail again.
    private func drains(_ fixture: SpoolFixture, _ ids: [MessageID]) throws {
        #expect(ids.count > 10)
        #expect(try fixture.spool.list().messages.map(\.id) == ids)
        let items = try fixture.work(ids.count)
        // Each third is put off: its record grows, which takes room too. Those come last, so that
        // with the last of them everything is done.
        let status = DeliveryStatus(code: 250, text: pattern(500))
        for (index, item) in items.enumerated() where index % 3 != 0 {
            fixture.answer(item, .delivered(status))
        }
        for (index, item) in items.enumerated() where index % 3 == 0 {
            fixture.answer(item, .deferred(status))
        }
        var deferred = 0
        while deferred < (ids.count + 2) / 3 {
            _ = try fixture.event { event in
                if case .deferred = event { true } else { nil }
            }
            deferred += 1
        }
        #expect(
            try fixture.spool.list().messages.map(\.id)
                == ids.enumerated().filter { $0.offset % 3 == 0 }.map(\.element))
        #expect(fixture.spool.hasRoom)
        try fixture.accept()
    }

    @Test("A full map refuses mail, keeps what it has, and delivers it")
    func fullMap() throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.mapSize = 4 << 20 }
        try drains(fixture, try fill(fixture))
    }

    @Test("A full disk refuses mail, keeps what it has, and delivers it")
    func fullDisk() throws {
        let directory = try TestDirectory()
        try FileSystem.makeDirectory(directory.queue)
        // Needs root; elsewhere the full map stands for it.
        guard unsafe mount("tmpfs", directory.queue, "tmpfs", 0, "size=8m,mode=700") == 0 else {
            return
        }
        defer { unsafe umount2(directory.queue, 2) }
        let fixture = try SpoolFixture(directory)
        let ids = try fill(fixture)
        // Somebody else takes what is left.
        let other = try OpenFile(directory.queue + "/other", O_WRONLY | O_CREAT)
        let chunk = [UInt8](repeating: 1, count: 4096)
        while (try? other.write(chunk.span)) != nil {}
        #expect(try fill(fixture).isEmpty)
        let items = try fixture.work(ids.count)
        for item in items { fixture.answer(item, .deferred(DeliveryStatus(code: 451))) }
        for _ in items {
            _ = try fixture.event { event in
                if case .deferred = event { true } else { nil }
            }
        }
        #expect(try fixture.spool.list(.state(.deferred)).messages.map(\.id) == ids)
        try FileSystem.remove(directory.queue + "/other")
        try other.truncate(to: 0)
        fixture.pass(100)
        for item in try fixture.work(ids.count) {
            fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
        }
        // Refused while results are still being written with what the reserve gave; each answer
        // comes with a batch of them.
        var isAccepted = false
        for _ in items where !isAccepted { isAccepted = (try? fixture.accept()) != nil }
        #expect(isAccepted)
        fixture.spool.stop()
        #expect(try SpoolFixture(directory, isStarted: false).spool.list().messages.count == 1)
    }

    @Test("A full disk whose next hops put everything off is emptied by the first that doesn't")
    func fullDiskOfDeferrals() throws {
        let directory = try TestDirectory()
        try FileSystem.makeDirectory(directory.queue)
        // Needs root, as above.
        guard unsafe mount("tmpfs", directory.queue, "tmpfs", 0, "size=8m,mode=700") == 0 else {
            return
        }
        defer { unsafe umount2(directory.queue, 2) }
        let fixture = try SpoolFixture(directory) {
            $0.retry = RetryPolicy(
                schedule: [60], maximumAttempts: 10_000, maximumQueueTime: 10_000_000)
        }
        let ids = try (0..<1500).map { _ in try fixture.accept() }
        let other = try OpenFile(directory.queue + "/other", O_WRONLY | O_CREAT)
        let chunk = [UInt8](repeating: 1, count: 4096)
        while (try? other.write(chunk.span)) != nil {}
        // Each attempt makes the records longer, until neither disk nor reserve have room.
        let reason = DeliveryStatus(code: 451, text: pattern(1000))
        var isFull = false
        while !isFull {
            let items = try fixture.work(ids.count)
            for item in items { fixture.answer(item, .deferred(reason)) }
            var written = 0
            while written < items.count, !isFull {
                isFull = try fixture.event { event in
                    switch event {
                    case .deferred: false
                    case .stalled: true
                    default: nil
                    }
                }
                written += 1
            }
            fixture.pass(100)
        }
        // Those that were put off without a word come back too, and now somebody takes them.
        var delivered: Set<MessageID> = []
        while delivered.count < ids.count {
            fixture.pass(100)
            for item in try fixture.anyWork() {
                delivered.insert(item.id)
                fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
            }
        }
        // An operation comes after the results that wait.
        var rounds = 0
        while try fixture.spool.statistics().messages > 0 {
            try #require(rounds < 10_000)
            rounds += 1
            let ended = Inbox<Bool>()
            fixture.spool.perform(.release, on: .ids([])) { _ in ended.post(true) }
            _ = ended.takeOne()
        }
        fixture.spool.stop()
        #expect(try SpoolFixture(directory, isStarted: false).spool.list().messages.isEmpty)
    }

    @Test("Pages that will be used again count as free")
    func reusablePages() throws {
        let directory = try TestDirectory()
        try FileSystem.makeDirectory(directory.queue)
        // Needs root, as above.
        guard unsafe mount("tmpfs", directory.queue, "tmpfs", 0, "size=64m,mode=700") == 0 else {
            return
        }
        defer { unsafe umount2(directory.queue, 2) }
        let fixture = try SpoolFixture(directory) { $0.minimumFree = 40 << 20 }
        let ids = try fill(fixture)
        #expect(ids.count > 200)
        #expect(!fixture.spool.hasRoom)
        for item in try fixture.work(ids.count) {
            fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
        }
        fixture.spool.perform(.release, on: .ids([])) { _ in }
        // The file is as long as it was; what is free in it makes up for that.
        let again = try fill(fixture, limit: ids.count / 2)
        #expect(again.count == ids.count / 2)
        #expect(fixture.spool.hasRoom)
        #expect(try #require(FileSystem.room(at: directory.queue)).free < 40 << 20)
    }

    @Test("Below the minimum that must stay free nothing is accepted")
    func minimumFree() throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.minimumFree = .max / 2 }
        // Before anybody has sent content for nothing.
        #expect(!fixture.spool.hasRoom)
        #expect(throws: SpoolError.full) { try fixture.accept() }
        #expect(!fixture.spool.hasRoom)
    }

    @Test("After a stop submissions are answered, not lost in silence")
    func acceptAfterStop() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        fixture.spool.stop()
        #expect(throws: SpoolError.stopped) { try fixture.accept() }
    }
}
