import ElemtaSMTP
import Glibc
import Testing

@testable import ElemtaQueue

@Suite struct DamageTests {
    /// Changes one octet of every place in the file where `pattern` is.
    private func damage(_ path: String, at pattern: [UInt8]) throws {
        var octets = try readFile(path)
        var changed = 0
        for start in 0...(octets.count - pattern.count)
        where octets[start] == pattern[0]
            && octets[start..<start + pattern.count].elementsEqual(pattern)
        {
            octets[start] ^= 0x10
            changed += 1
        }
        try #require(changed > 0)
        try writeFile(octets, path)
    }

    private func quarantined(_ fixture: SpoolFixture) throws -> (name: String, reason: String) {
        try fixture.event { event in
            if case .quarantined(let name, let reason) = event { (name, reason) } else { nil }
        }
    }

    @Test("A damaged envelope goes to quarantine at start, everything else is served")
    func damagedEnvelope() throws {
        let directory = try TestDirectory()
        let marked = pattern(900)
        let ids: [MessageID]
        do {
            let fixture = try SpoolFixture(directory)
            ids = [
                try fixture.accept(), try fixture.accept(try fixture.envelope(), marked),
                try fixture.accept(),
            ]
            fixture.spool.stop()
        }
        try damage(directory.queue + "/spool.mdb", at: Array(marked[100..<140]))
        let fixture = try SpoolFixture(directory)
        #expect(try quarantined(fixture).name == "\(ids[1])")
        let report = try fixture.event { event in
            if case .recovered(let report) = event { report } else { nil }
        }
        #expect(report.messages == 2)
        #expect(report.quarantined == 1)
        #expect(try fixture.work(2).map(\.id) == [ids[0], ids[2]])
        #expect(directory.files(in: "quarantine") == ["\(ids[1])", "\(ids[1]).reason"])
        fixture.spool.stop()
        // And not again at the next start.
        #expect(try SpoolFixture(directory).work(2).map(\.id) == [ids[0], ids[2]])
    }

    @Test("A damaged piece of content is found by who reads it, and the message put aside")
    func damagedPiece() throws {
        let directory = try TestDirectory()
        let marked = pattern(20_000)
        let id: MessageID
        do {
            let fixture = try SpoolFixture(directory)
            id = try fixture.accept(try fixture.envelope(), marked)
            fixture.spool.stop()
        }
        try damage(directory.queue + "/spool.mdb", at: Array(marked[9000..<9040]))
        let fixture = try SpoolFixture(directory)
        let item = try fixture.work()[0]
        #expect(throws: SpoolError.damaged(id, "piece 2: \(RecordDamage.wrongChecksum)")) {
            try fixture.spool.read(id)
        }
        #expect(try quarantined(fixture).name == "\(id)")
        fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
        #expect(try fixture.spool.list().messages.isEmpty)
        // All that was left of it, in one file.
        let kept = try readFile("\(directory.queue)/quarantine/\(id)")
        #expect(kept.count > 20_000)
    }

    @Test("Long content is read block by block, each verified, as long as the message is there")
    func blocks() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let content = pattern(200_001)
        let id = try fixture.accept(try fixture.envelope(), content)
        guard case .pieces = try fixture.spool.find(id).content else {
            Issue.record("read whole")
            return
        }
        func block(at position: Int) throws(SpoolError) -> [UInt8] {
            try fixture.spool.readContent(of: id, octets: 200_001, from: position)
        }
        var read: [UInt8] = []
        while read.count < content.count {
            let next = try block(at: read.count)
            try #require(!next.isEmpty && next.count <= 65_536)
            read += next
        }
        #expect(read == content)
        for position in [1, 4_047, 4_048, 4_049, 100_000, 200_000] {
            let octets = try block(at: position)
            #expect(octets.elementsEqual(content[position...].prefix(octets.count)))
        }
        #expect(try block(at: 200_001).isEmpty)

        // What is in the tables after the removal shows that its commit is over.
        fixture.answer(try fixture.work()[0], .delivered(DeliveryStatus(code: 250)))
        try fixture.acceptIntoTables()
        #expect(throws: SpoolError.unknownMessage(id)) { try block(at: 0) }
        #expect(fixture.directory.files(in: "quarantine").isEmpty)
    }

    @Test("Content of up to 64 KiB comes whole", arguments: [0, 10, 20_000, 65_536, 65_537])
    func smallContent(count: Int) throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let content = pattern(count)
        let id = try fixture.accept(try fixture.envelope(), content)
        switch try fixture.spool.find(id).content {
        case .memory(let octets): #expect(octets == content && count <= 65_536)
        case .pieces: #expect(count > 65_536)
        case .file: Issue.record("in a file")
        }
        #expect(try fixture.spool.read(id).octets == content)
    }

    /// A message whose content is in a file.
    private func fileMessage(_ fixture: SpoolFixture, _ content: [UInt8]) throws -> MessageID {
        let envelope = try fixture.envelope()
        let writer = fixture.spool.contentFile(for: envelope)
        try writer.begin()
        // In runs that don't match the blocks of the file.
        var position = 0
        while position < content.count {
            let end = min(content.count, position + 10_007)
            try writer.append(Array(content[position..<end]).span)
            position = end
        }
        fixture.spool.accept(
            Submission(token: 1, envelope: envelope, content: .file(try writer.finish())))
        return try #require(try fixture.answer()).result.get()
    }

    private func path(_ fixture: SpoolFixture, _ id: MessageID) -> String {
        ContentFileLayout.path(fixture.directory.queue, id)
    }

    @Test("Big content lives in a file until its message is done")
    func contentFile() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let content = pattern(200_001)
        let id = try fileMessage(fixture, content)
        #expect(try fixture.spool.read(id).octets == content)
        var status = stat()
        #expect(unsafe stat(path(fixture, id), &status) == 0 && status.st_mode & 0o777 == 0o600)
        fixture.answer(try fixture.work()[0], .delivered(DeliveryStatus(code: 250)))
        fixture.spool.stop()
        #expect(!FileSystem.exists(path(fixture, id)))
        #expect(try SpoolStore(path: fixture.directory.queue, mapSize: nil).removals().isEmpty)
    }

    @Test("A damaged content file is never served: the message goes to quarantine with it")
    func damagedContentFile() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let content = pattern(100_000)
        let id = try fileMessage(fixture, content)
        try damage(path(fixture, id), at: Array(content[70_000..<70_040]))
        #expect(throws: SpoolError.self) { try fixture.spool.read(id) }
        #expect(try quarantined(fixture).name == "\(id)")
        #expect(
            fixture.directory.files(in: "quarantine") == [
                "\(id)", "\(id).content", "\(id).content.reason", "\(id).reason",
            ])
        #expect(try fixture.spool.list().messages.isEmpty)
    }

    @Test("What a crash leaves in content/ is swept at the next start")
    func contentSweep() throws {
        let directory = try TestDirectory()
        let content = pattern(70_000)
        let done: MessageID
        let left: MessageID
        let unfinished: MessageID
        let orphan: MessageID
        let missing: MessageID
        do {
            let fixture = try SpoolFixture(directory)
            missing = try fileMessage(fixture, content)
            left = try fileMessage(fixture, content)
            done = try fileMessage(fixture, content)
            let items = try fixture.work(3)
            let octets = try readFile(path(fixture, done))
            fixture.answer(items[2], .delivered(DeliveryStatus(code: 250)))
            // What is in the tables after the removal shows that its commit is over.
            let last = try fixture.envelope()
            orphan = last.id
            let writer = fixture.spool.contentFile(for: last)
            try writer.begin()
            try writer.append(content.span)
            // Dropped it would be removed, which a crash doesn't wait for.
            try writer.finish().handOver()
            try fixture.acceptIntoTables()
            unfinished = fixture.spool.ids.next()
            // Now as if the process had died here: the files as they are, the finished message's
            // file not unlinked yet, one file half written, one message's file lost.
            let copy = directory.queue + "-copy"
            try FileSystem.makeDirectory(copy)
            try FileSystem.makeDirectory(copy + "/content")
            try writeFile(
                try readFile(directory.queue + "/spool.mdb"), copy + "/spool.mdb")
            for (id, content) in [
                (done, octets), (left, try readFile(path(fixture, left))),
                (orphan, try readFile(path(fixture, orphan))),
                (unfinished, Array(octets.prefix(5000))),
            ] {
                try FileSystem.makeDirectory(ContentFileLayout.directory(copy, id))
                try writeFile(content, ContentFileLayout.path(copy, id))
            }
            try FileSystem.makeDirectory(copy + "/content/zz")
            try writeFile([1], copy + "/content/zz/not-a-message")
            fixture.spool.stop()
            try FileSystem.move(directory.queue, to: directory.path + "/old")
            try FileSystem.move(copy, to: directory.queue)
        }
        let fixture = try SpoolFixture(directory)
        let report = try fixture.event { event in
            if case .recovered(let report) = event { report } else { nil }
        }
        #expect(report.removedFiles == 2)
        #expect(report.quarantined == 3)
        #expect(try fixture.spool.read(left).octets == content)
        #expect(!FileSystem.exists(path(fixture, done)))
        #expect(!FileSystem.exists(path(fixture, unfinished)))
        #expect(throws: SpoolError.unknownMessage(missing)) { try fixture.spool.read(missing) }
        let names = directory.files(in: "quarantine").filter { !$0.hasSuffix(".reason") }
        #expect(Set(names) == ["\(orphan).content", "\(missing)", "not-a-message"])
    }

    @Test("A writer that is dropped or aborted leaves nothing")
    func abortedWriter() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let envelope = try fixture.envelope()
        do {
            let writer = fixture.spool.contentFile(for: envelope)
            try writer.begin()
            try writer.append(pattern(100_000).span)
            withExtendedLifetime(writer) {
                #expect(FileSystem.exists(path(fixture, envelope.id)))
            }
        }
        #expect(!FileSystem.exists(path(fixture, envelope.id)))
    }

}
