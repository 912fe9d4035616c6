import ElemtaSMTP
import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaQueue

/// Writes that fail below LMDB.
@Suite struct FaultTests {
    @Test(
        "A write that fails refuses what it covered; the spool is verified, reopened and goes on",
        // LMDB writes pages through one descriptor and its meta page through another.
        arguments: [0, 1])
    func failedWrite(descriptor: Int) throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.journalLimit = 0 }
        let first = try fixture.accept()
        let path = fixture.directory.queue + "/spool.mdb"
        let found = try descriptors(of: path)
        try #require(found.count == 2)
        // Every write through it fails from now on.
        let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
        #expect(dup2(readOnly, found[descriptor]) == found[descriptor])
        close(readOnly)

        let refused = try fixture.envelope()
        #expect(throws: SpoolError.self) { try fixture.accept(refused, [1]) }
        _ = try fixture.event { event in
            if case .reopened = event { true } else { nil }
        }
        let last = try fixture.accept()
        // What was refused isn't there, also when the transaction got through after all.
        #expect(try fixture.spool.list().messages.map(\.id) == [first, last])
        let items = try fixture.work(2)
        #expect(items.map(\.id) == [first, last])
        for item in items { fixture.answer(item, .delivered(DeliveryStatus(code: 250))) }
        fixture.spool.stop()
        let next = try SpoolFixture(fixture.directory, isStarted: false)
        #expect(try next.spool.list().messages.isEmpty)
    }

    @Test("Results that can't be written are kept and written later")
    func failedResult() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let id = try fixture.accept()
        let item = try fixture.work()[0]
        let path = fixture.directory.queue + "/spool.mdb"
        let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
        for descriptor in try descriptors(of: path) where descriptor != readOnly {
            #expect(dup2(readOnly, descriptor) == descriptor)
        }
        close(readOnly)
        fixture.answer(item, .deferred(DeliveryStatus(code: 451)))
        _ = try fixture.event { event in
            if case .deferred(id, _, 1, _, _) = event { true } else { nil }
        }
        #expect(try fixture.spool.show(id).attempts.count == 1)
    }

    @Test("A clock that is set back doesn't hold up what is tried again")
    func clockSetBack() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let id = try fixture.accept()
        let item = try fixture.work()[0]
        // The result can't be written, and the file can't be opened anew either.
        let path = fixture.directory.queue + "/spool.mdb"
        let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
        for descriptor in try descriptors(of: path) where descriptor != readOnly {
            #expect(dup2(readOnly, descriptor) == descriptor)
        }
        close(readOnly)
        try FileSystem.move(path, to: path + ".away")
        try FileSystem.makeDirectory(path)
        fixture.answer(item, .deferred(DeliveryStatus(code: 451)))
        _ = try fixture.event { event in
            if case .stalled = event { true } else { nil }
        }
        fixture.clock.now = fixture.clock.now + -3600
        unsafe rmdir(path)
        try FileSystem.move(path + ".away", to: path)
        _ = try fixture.event { event in
            if case .deferred(id, _, 1, _, _) = event { true } else { nil }
        }
        try fixture.accept()
    }

    /// Performs an operation that comes to an end whatever the disk does.
    private func hold(_ spool: Spool) throws -> OperationProgress {
        let progress = Inbox<OperationProgress>()
        spool.perform(.hold, on: .all) { progress.post($0) }
        while case .elements(let list) = progress.take(within: .seconds(20)) {
            if let last = list.last, last.isFinished { return last }
        }
        throw SpoolError.stopped
    }

    /// Makes every write to the spool fail, and puts what `prepare` makes in its place.
    private func breakSpool(_ path: String, _ prepare: () throws -> Void) throws {
        let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
        for descriptor in try descriptors(of: path) where descriptor != readOnly {
            #expect(dup2(readOnly, descriptor) == descriptor)
        }
        close(readOnly)
        try FileSystem.move(path, to: path + ".away")
        try prepare()
    }

    @Test("Operations fail while nothing can be written, and that is told once, as is its end")
    func operationsWhileStalled() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        try fixture.accept()
        let path = fixture.directory.queue + "/spool.mdb"
        try breakSpool(path) { try FileSystem.makeDirectory(path) }
        // The first meets the fault, the others come while it lasts.
        for _ in 0..<3 { #expect(try hold(fixture.spool).failure != nil) }
        unsafe rmdir(path)
        try FileSystem.move(path + ".away", to: path)
        while try hold(fixture.spool).failure != nil {}
        var stallCount = 0
        _ = try fixture.event { event in
            if case .stalled = event { stallCount += 1 }
            if case .resumed = event { return true }
            return nil
        }
        #expect(stallCount == 1)
        #expect(try fixture.spool.statistics().held == 1)
    }

    @Test("Operations fail on a spool that was given up, and it can still be stopped")
    func operationsAfterGivingUp() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        try fixture.accept()
        let path = fixture.directory.queue + "/spool.mdb"
        try breakSpool(path) { try writeFile(Array(repeating: 7, count: 1 << 16), path) }
        for _ in 0..<2 { #expect(try hold(fixture.spool).failure != nil) }
        _ = try fixture.event { event in
            if case .suspected = event { true } else { nil }
        }
        fixture.spool.stop()
    }
}
