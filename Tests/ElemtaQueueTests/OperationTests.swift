import ElemtaSMTP
import ElemtaThreads
import Testing

@testable import ElemtaQueue

@Suite struct OperationTests {
    private func perform(
        _ operation: QueueOperation, on selection: QueueSelection, _ spool: Spool
    ) throws -> OperationProgress {
        let progress = Inbox<OperationProgress>()
        spool.perform(operation, on: selection) { progress.post($0) }
        while case .elements(let list) = progress.take(within: .seconds(20)) {
            if let last = list.last, last.isFinished { return last }
        }
        throw SpoolError.stopped
    }

    @Test("A list comes in slices, in order of arrival")
    func slices() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        var ids: [MessageID] = []
        for number in 0..<7 { ids.append(try fixture.accept(to: ["u@d\(number % 2).example"])) }
        var listed: [MessageID] = []
        var next: MessageID?
        repeat {
            let slice = try fixture.spool.list(after: next, limit: 3)
            listed += slice.messages.map(\.id)
            next = slice.next
        } while next != nil
        #expect(listed == ids)
        let domain = try #require(Domain("d1.example"))
        let found = try fixture.spool.list(.domain(domain)).messages
        #expect(found.map(\.id) == [ids[1], ids[3], ids[5]])
        #expect(try fixture.spool.list(.ids([ids[2], MessageID(rawValue: 3)])).messages.count == 1)
        #expect(try fixture.spool.list(.sender(.null)).messages.isEmpty)
    }

    @Test("What is held isn't handed out until it is released, also after a restart")
    func holdAndRelease() throws {
        let directory = try TestDirectory()
        let clock = TestClock()
        let id: MessageID
        do {
            let fixture = try SpoolFixture(directory, clock: clock)
            id = try fixture.accept()
            let item = try fixture.work()[0]
            #expect(try perform(.hold, on: .ids([id]), fixture.spool).changed == 1)
            // On its way when it was held: the answer still counts.
            fixture.answer(item, .deferred(DeliveryStatus(code: 451)))
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory, clock: clock)
        #expect(try fixture.spool.list(.state(.hold)).messages.map(\.id) == [id])
        fixture.pass(10_000)
        #expect(try perform(.retry, on: .all, fixture.spool).changed == 0)
        let other = try fixture.accept(to: ["two@b.example"])
        #expect(try fixture.work().map(\.id) == [other])
        #expect(try fixture.spool.statistics().held == 1)
        #expect(try perform(.release, on: .state(.hold), fixture.spool).changed == 1)
        #expect(try fixture.work().map(\.id) == [id])
    }

    @Test("What is released waits on as if it had not been held, also after a restart while held")
    func releaseGoesOnWaiting() throws {
        let directory = try TestDirectory()
        let clock = TestClock()
        let id: MessageID
        do {
            let fixture = try SpoolFixture(directory, clock: clock) {
                $0.retry = RetryPolicy(schedule: [100])
            }
            id = try fixture.accept()
            fixture.answer(try fixture.work()[0], .deferred(DeliveryStatus(code: 451)))
            _ = try fixture.event { if case .deferred = $0 { true } else { nil } }
            for _ in 1...3 {
                #expect(try perform(.hold, on: .all, fixture.spool).changed == 1)
                #expect(try perform(.release, on: .all, fixture.spool).changed == 1)
            }
            let other = try fixture.accept(to: ["two@b.example"])
            let items = try fixture.work()
            #expect(items.map(\.id) == [other])
            fixture.answer(items[0], .delivered(DeliveryStatus(code: 250)))
            #expect(try perform(.hold, on: .ids([id]), fixture.spool).changed == 1)
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory, clock: clock) {
            $0.retry = RetryPolicy(schedule: [100])
        }
        #expect(try perform(.release, on: .all, fixture.spool).changed == 1)
        let other = try fixture.accept(to: ["three@b.example"])
        #expect(try fixture.work().map(\.id) == [other])
        fixture.pass(111)
        #expect(try fixture.work().map(\.id) == [id])
    }

    @Test("A retry makes a deferred message due at once")
    func retry() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let id = try fixture.accept()
        fixture.answer(try fixture.work()[0], .deferred(DeliveryStatus(code: 451)))
        _ = try fixture.event { event in
            if case .deferred = event { true } else { nil }
        }
        #expect(try perform(.retry, on: .state(.deferred), fixture.spool).changed == 1)
        #expect(try fixture.work().map(\.id) == [id])
    }

    @Test("A failed message that was kept gets another attempt")
    func retryFailed() throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.failedRetention = 1000 }
        let id = try fixture.accept(try fixture.envelope(from: ""), [])
        fixture.answer(try fixture.work()[0], .failed(DeliveryStatus(code: 550)))
        _ = try fixture.event { event in
            if case .failed = event { true } else { nil }
        }
        #expect(try fixture.spool.statistics().failed == 1)
        #expect(try perform(.retry, on: .state(.failed), fixture.spool).changed == 1)
        let item = try fixture.work()[0]
        #expect(item.id == id)
        fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
        try fixture.accept()
        #expect(try fixture.spool.list().messages.count == 1)
    }

    @Test("Deleting takes slices, spares new mail, and what was out is forgotten")
    func delete() throws {
        let fixture = try SpoolFixture(try TestDirectory(), isStarted: false)
        for _ in 0..<450 {
            fixture.spool.accept(
                Submission(
                    token: 0, envelope: try fixture.envelope(),
                    content: .inMemory(ContentOctets([1]))))
        }
        try fixture.start()
        let items = try fixture.work(450)
        let done = try perform(.delete, on: .all, fixture.spool)
        #expect(done.changed == 450)
        #expect(done.examined == 450)
        for item in items { fixture.answer(item, .delivered(DeliveryStatus(code: 250))) }
        _ = fixture.answers.take(within: .zero)
        let id = try fixture.accept()
        #expect(try fixture.spool.list().messages.map(\.id) == [id])
        // Handed out: the schedule has it, and the numbers are the schedule's.
        #expect(try fixture.work().map(\.id) == [id])
        let statistics = try fixture.spool.statistics()
        #expect(statistics.messages == 1)
        let envelope = try fixture.spool.show(id)
        #expect(statistics.octets == envelope.contentOctets)
    }

    @Test(
        "An operation ends between two slices once nobody waits for it", arguments: [true, false])
    func unwanted(isStarted: Bool) throws {
        let directory = try TestDirectory()
        do {
            let fixture = try SpoolFixture(directory, isStarted: false)
            for _ in 0..<450 {
                fixture.spool.accept(
                    Submission(
                        token: 0, envelope: try fixture.envelope(),
                        content: .inMemory(ContentOctets([1]))))
            }
            try fixture.start()
            _ = try fixture.work(450)
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory, isStarted: isStarted)
        let progress = Inbox<OperationProgress>()
        // Gone after the first slice.
        let isWanted = Locked(true)
        fixture.spool.perform(.hold, on: .all, while: { isWanted.withLock { $0 } }) { now in
            isWanted.withLock { $0 = false }
            progress.post(now)
        }
        var last = OperationProgress()
        while !last.isFinished, case .elements(let list) = progress.take(within: .seconds(20)) {
            last = list.last ?? last
        }
        #expect(last.isFinished)
        #expect(last.failure == .stopped)
        #expect(last.changed == OperationJob.sliceLimit)
        #expect(try fixture.spool.list(.state(.hold), limit: 450).messages.count == last.changed)
    }

    @Test("Operations work on a stopped server's spool")
    func stoppedServer() throws {
        let directory = try TestDirectory()
        let ids: [MessageID]
        do {
            let fixture = try SpoolFixture(directory)
            ids = [try fixture.accept(), try fixture.accept(to: ["two@b.example"])]
            fixture.spool.stop()
        }
        do {
            let fixture = try SpoolFixture(directory, isStarted: false)
            #expect(try fixture.spool.statistics().messages == 2)
            #expect(try perform(.delete, on: .ids([ids[0]]), fixture.spool).changed == 1)
            #expect(try perform(.hold, on: .all, fixture.spool).changed == 1)
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory, isStarted: false)
        #expect(try fixture.spool.list(.state(.hold)).messages.map(\.id) == [ids[1]])
    }
}
