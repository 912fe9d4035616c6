import ElemtaSMTP
import ElemtaThreads
import Testing

@testable import ElemtaQueue

/// Destinations that can't be reached, and what waits for them.
@Suite struct DoorTests {
    private let trouble = DeliveryStatus(
        enhancedStatus: EnhancedStatus(.persistentTransientFailure, 4, 1),
        text: Array("Can't connect to mx.a.example".utf8), nextHop: "mx.a.example")
    private let delivered = RecipientResult.delivered(DeliveryStatus(code: 250))

    private func fixture(
        _ directory: TestDirectory, clock: TestClock = TestClock(),
        _ adjust: (inout SpoolOptions) -> Void = { _ in }
    ) throws -> SpoolFixture {
        try SpoolFixture(directory, clock: clock) {
            $0.retry = RetryPolicy(schedule: [60, 1000, 10_000], maximumQueueTime: 50_000)
            adjust(&$0)
        }
    }

    /// Accepts messages for a destination that turns out to be down.
    private func unreached(_ fixture: SpoolFixture, count: Int) throws -> [MessageID] {
        let ids = try (0..<count).map { _ in try fixture.accept() }
        let items = try fixture.work(count)
        fixture.spool.record(items.map { DeliveryOutcome($0, .unreached(trouble)) })
        _ = try nextProbe(fixture)
        return ids
    }

    /// When the next one is, once it is written down that the last one failed.
    private func nextProbe(_ fixture: SpoolFixture) throws -> UnixTime {
        let until = try fixture.event { event in
            if case .unreachable(_, _, let until) = event { until } else { nil }
        }
        _ = try fixture.event { event in
            if case .deferred = event { true } else { nil }
        }
        return until
    }

    /// Has the operation done when this returns.
    private func perform(
        _ operation: QueueOperation, on selection: QueueSelection, _ fixture: SpoolFixture
    ) {
        let ended = Inbox<Bool>()
        fixture.spool.perform(operation, on: selection) { progress in
            if progress.isFinished { ended.post(true) }
        }
        _ = ended.takeOne()
    }

    private func attempts(_ fixture: SpoolFixture, _ ids: [MessageID]) throws -> [Int] {
        try ids.map { try fixture.spool.show($0).attempts.count }
    }

    /// Something else that is handed out shows that nothing was before it.
    private func expectQuiet(_ fixture: SpoolFixture) throws {
        let other = try fixture.accept(to: ["two@b.example"])
        let items = try fixture.work()
        #expect(items.map(\.id) == [other])
        fixture.answer(items[0], delivered)
    }

    @Test("A destination that is down is probed by one message; the others wait for free")
    func oneProbe() throws {
        let fixture = try fixture(try TestDirectory())
        let ids = try unreached(fixture, count: 50)
        #expect(try attempts(fixture, ids) == [1] + Array(repeating: 0, count: 49))
        fixture.pass(59)
        try expectQuiet(fixture)
        fixture.pass(8)
        // The first has its own schedule; the second is the oldest that is due.
        let probe = try fixture.work()[0]
        #expect(probe.id == ids[1])
        fixture.pass(10_000)
        try expectQuiet(fixture)
        fixture.spool.record([DeliveryOutcome(probe, .unreached(trouble))])
        // Never less often than this, whatever the schedule says.
        let until = try nextProbe(fixture)
        #expect(until == fixture.clock.now + RetryPolicy.longestProbeDelay)
        fixture.pass(RetryPolicy.longestProbeDelay)
        #expect(try fixture.work().map(\.id) == [ids[2]])
        #expect(
            try attempts(fixture, ids) == [1, 1] + Array(repeating: 0, count: 48))
    }

    @Test("One that comes back drains at once, those that were probes and wait longer included")
    func drainsAtOnce() throws {
        let fixture = try fixture(try TestDirectory()) {
            $0.retry.schedule = [10_000]
        }
        let ids = try unreached(fixture, count: 20)
        for _ in 0..<3 {
            fixture.pass(RetryPolicy.longestProbeDelay)
            fixture.spool.record([
                DeliveryOutcome(try fixture.work()[0], .unreached(trouble))
            ])
            _ = try nextProbe(fixture)
        }
        fixture.pass(RetryPolicy.longestProbeDelay)
        let probe = try fixture.work()[0]
        fixture.answer(probe, delivered)
        let rest = try fixture.work(19)
        #expect(Set(rest.map(\.id)) == Set(ids).subtracting([probe.id]))
        let isTold = try fixture.event { event in
            if case .reachable = event { true } else { nil }
        }
        #expect(isTold)
    }

    @Test("A refusal of the probe is an answer too: the destination is back")
    func refusalIsAnAnswer() throws {
        let fixture = try fixture(try TestDirectory())
        let ids = try unreached(fixture, count: 3)
        fixture.pass(67)
        fixture.answer(try fixture.work()[0], .deferred(DeliveryStatus(code: 451)))
        #expect(Set(try fixture.work(2).map(\.id)) == [ids[0], ids[2]])
    }

    @Test("New mail for it waits too, and the list says why and until when")
    func newMailWaits() throws {
        let fixture = try fixture(try TestDirectory())
        let ids = try unreached(fixture, count: 2)
        let new = try fixture.accept()
        try expectQuiet(fixture)
        for id in [ids[1], new] {
            let listed = try #require(try fixture.spool.list(.ids([id])).messages.first)
            #expect(listed.state == .deferred)
            #expect(listed.reason == trouble)
            let next = try #require(listed.nextAttempt)
            #expect((60...66).contains(next.seconds - fixture.clock.now.seconds))
        }
        let deferred = try fixture.spool.list(.state(.deferred)).messages.map(\.id)
        #expect(deferred == ids + [new])
    }

    @Test("A retry probes at once, with the message that was named")
    func retryProbes() throws {
        let fixture = try fixture(try TestDirectory())
        let ids = try unreached(fixture, count: 10)
        perform(.retry, on: .ids([ids[7]]), fixture)
        let probe = try fixture.work()[0]
        #expect(probe.id == ids[7])
        perform(.retry, on: .all, fixture)
        try expectQuiet(fixture)
        fixture.answer(probe, delivered)
        #expect(try fixture.work(9).count == 9)
    }

    @Test("Whose time ends while it waits comes back with the destination's last reason")
    func expiryBehindTheDoor() throws {
        let fixture = try fixture(try TestDirectory()) { $0.failedRetention = 1000 }
        let ids = try unreached(fixture, count: 3)
        fixture.pass(67)
        // Out and never answered while the others' time goes by.
        #expect(try fixture.work().map(\.id) == [ids[1]])
        fixture.pass(50_000)
        let reports = try fixture.work(2)
        for report in reports {
            #expect(report.destination.name == "smtp:client.example")
            let text = String(decoding: try fixture.spool.read(report.id).octets, as: UTF8.self)
            #expect(text.contains("Action: failed\r\n"))
            #expect(text.contains("Status: 4.4.1\r\n"))
            #expect(text.contains("Can't connect to mx.a.example"))
        }
        for id in [ids[0], ids[2]] {
            #expect(try fixture.spool.show(id).recipients.map(\.state) == [.failed(trouble)])
        }
        #expect(try fixture.spool.show(ids[1]).hasPendingRecipients)
    }

    @Test("A delay is reported also to those who wait without an attempt, once")
    func delayBehindTheDoor() throws {
        let fixture = try fixture(try TestDirectory()) { $0.delayWarning = 500 }
        _ = try unreached(fixture, count: 2)
        let id = try fixture.accept(
            try fixture.envelope(to: ["one@a.example", "two@b.example"]) { transaction in
                transaction.recipients = transaction.recipients.map {
                    AcceptedRecipient(path: $0.path, notify: [.delay])
                }
            }, [])
        let other = try fixture.work()[0]
        #expect(other.destination.name == "smtp:b.example")
        let busy = DeliveryStatus(code: 450)
        fixture.answer(other, .deferred(busy))
        _ = try fixture.event { event in
            if case .deferred(id, _, _, _, _) = event { true } else { nil }
        }
        fixture.pass(67)
        // Another message is the probe, and nobody answers until the warning is due.
        #expect(try fixture.work(2).count == 2)
        fixture.pass(433)
        let report = try fixture.work()[0]
        #expect(report.destination.name == "smtp:client.example")
        let text = String(decoding: try fixture.spool.read(report.id).octets, as: UTF8.self)
        #expect(text.contains("Final-Recipient: rfc822; one@a.example\r\nAction: delayed\r\n"))
        let states = try fixture.spool.show(id).recipients
        #expect(states.map(\.delayReported) == [true, true])
        guard case .pending(0, nil, trouble) = states[0].state else {
            Issue.record("\(states[0].state)")
            return
        }
        fixture.pass(100)
        try expectQuiet(fixture)
    }

    @Test("After a restart one probe comes first; what it finds holds for all")
    func restart() throws {
        let directory = try TestDirectory()
        let clock = TestClock()
        let ids: [MessageID]
        do {
            let fixture = try fixture(directory, clock: clock)
            ids = try unreached(fixture, count: 100)
            fixture.spool.stop()
        }
        let fixture = try fixture(directory, clock: clock)
        let probe = try fixture.work()[0]
        #expect(probe.id == ids[1])
        try expectQuiet(fixture)
        fixture.answer(probe, delivered)
        // The one that had an attempt and would wait goes as well.
        #expect(try fixture.work(99).count == 99)
    }

    @Test("A probe that is deleted, or wasn't made, leaves the way to the next")
    func lostProbe() throws {
        let fixture = try fixture(try TestDirectory())
        let ids = try unreached(fixture, count: 4)
        fixture.pass(67)
        #expect(try fixture.work().map(\.id) == [ids[1]])
        perform(.delete, on: .ids([ids[1]]), fixture)
        let second = try fixture.work()[0]
        #expect(second.id == ids[2])
        fixture.answer(second, .notAttempted)
        try expectQuiet(fixture)
        fixture.pass(Settlement.offerAgain)
        #expect(try fixture.work().map(\.id) == [ids[3]])
    }

    @Test("Held messages stay where they are when the destination comes back")
    func held() throws {
        let fixture = try fixture(try TestDirectory())
        let ids = try unreached(fixture, count: 4)
        perform(.hold, on: .ids([ids[0], ids[2]]), fixture)
        fixture.pass(67)
        fixture.answer(try fixture.work()[0], delivered)
        #expect(try fixture.work().map(\.id) == [ids[3]])
        try expectQuiet(fixture)
        perform(.release, on: .all, fixture)
        #expect(Set(try fixture.work(2).map(\.id)) == [ids[0], ids[2]])
    }

    @Test("Recipients of one message that fail at several destinations are told of in one report")
    func oneReport() throws {
        let fixture = try fixture(try TestDirectory())
        try fixture.accept(to: ["one@a.example", "two@b.example", "three@c.example"])
        let items = try fixture.work(3)
        let refusal = DeliveryStatus(
            code: 550, enhancedStatus: EnhancedStatus(.permanentFailure, 1, 1))
        fixture.spool.record([
            DeliveryOutcome(items[0], .all(.failed(refusal))),
            DeliveryOutcome(items[1], .all(delivered)),
            DeliveryOutcome(items[2], .all(.failed(refusal))),
        ])
        let report = try fixture.work()[0]
        let text = String(decoding: try fixture.spool.read(report.id).octets, as: UTF8.self)
        #expect(text.contains("Final-Recipient: rfc822; one@a.example\r\n"))
        #expect(text.contains("Final-Recipient: rfc822; three@c.example\r\n"))
        #expect(!text.contains("two@b.example"))
        fixture.answer(report, delivered)
        fixture.spool.stop()
        #expect(try SpoolFixture(fixture.directory, isStarted: false).spool.list().messages.isEmpty)
    }
}
