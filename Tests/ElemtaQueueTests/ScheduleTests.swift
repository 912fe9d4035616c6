import DequeModule
import ElemtaSMTP
import HeapModule
import Testing

@testable import ElemtaQueue

@Suite struct ScheduleTests {
    private let deferral = DeliveryStatus(
        code: 451, enhancedStatus: EnhancedStatus(.persistentTransientFailure, 3, 0),
        text: Array("try later".utf8), nextHop: "mx.a.example")
    private let refusal = DeliveryStatus(
        code: 550, enhancedStatus: EnhancedStatus(.permanentFailure, 1, 1),
        text: Array("no such user".utf8), nextHop: "mx.a.example [192.0.2.1]")

    @Test("A deferred message comes back when the schedule says, not before")
    func deferredMessageComesBack() throws {
        let fixture = try SpoolFixture(try TestDirectory()) {
            $0.retry = RetryPolicy(schedule: [100, 1000])
        }
        let id = try fixture.accept()
        fixture.answer(try fixture.work()[0], .deferred(deferral))
        let until = try fixture.event { event in
            if case .deferred(id, _, 1, _, let until) = event { until } else { nil }
        }
        #expect((100...110).contains(until.seconds - fixture.clock.now.seconds))
        fixture.pass(99)
        // Something else that is handed out shows that the first wasn't.
        let other = try fixture.accept(to: ["two@b.example"])
        #expect(try fixture.work().map(\.id) == [other])
        fixture.pass(12)
        #expect(try fixture.work().map(\.id) == [id])
        let envelope = try fixture.spool.show(id)
        #expect(envelope.attempts.map(\.status) == [deferral])
        #expect(envelope.attempts.first?.destination == "smtp:a.example")
    }

    @Test("Each thing that the next hop said in one attempt is kept, with how many it was said to")
    func wordsOfAnAttempt() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let names = (0..<9).map { "user\($0)@a.example" }
        let id = try fixture.accept(to: names)
        let full = DeliveryStatus(code: 452, text: Array("full".utf8))
        let words: [RecipientResult] =
            [.delivered(DeliveryStatus(code: 250)), .deferred(deferral), .failed(refusal)]
            + [.deferred(full), .deferred(deferral), .deferred(deferral)]
            + (6..<9).map { .deferred(DeliveryStatus(code: 451, text: Array("\($0)".utf8))) }
        let item = try fixture.work()[0]
        fixture.spool.record([
            DeliveryOutcome(
                item, .each(words.enumerated().map { (recipient: UInt32($0), result: $1) }))
        ])
        _ = try fixture.event { if case .deferred = $0 { true } else { nil } }
        let attempts = try fixture.spool.show(id).attempts
        withExtendedLifetime(fixture) {}
        #expect(attempts.map(\.status.code) == [550, 451, 452, 250])
        #expect(attempts.map(\.failed) == [1, 0, 0, 0])
        #expect(attempts.map(\.deferred) == [0, 3, 4, 0])
        #expect(attempts.map(\.delivered) == [0, 0, 0, 1])
    }

    @Test("Holding and releasing again and again leaves no traces in memory")
    func holdAndReleaseAgainAndAgain() {
        var schedule = Schedule(outstandingLimit: 1)
        let destination = Destination(name: "smtp:a.example")
        let ids = (1...100).map { MessageID(rawValue: $0) }
        for id in ids {
            schedule.add(
                MessagePlan(
                    id,
                    GroupPlan(destination: destination, state: .ready, members: .allPending(1))))
        }
        // One is out to find out, the others wait behind it.
        for _ in 1...500 {
            for id in ids { schedule.hold(id) }
            for id in ids { schedule.release(id, now: UnixTime(seconds: 1000)) }
        }
        #expect(schedule.timers.count <= 3 * ids.count + 4096)
        #expect(schedule.destinations.line(0).count <= 3 * ids.count + 4096)
        let later = UnixTime(seconds: 1000)
        for id in ids { schedule.remove(id) }
        for id in ids {
            schedule.add(
                MessagePlan(
                    id,
                    GroupPlan(
                        destination: destination, state: .waiting(until: 5000),
                        members: .allPending(1))))
        }
        for _ in 1...500 {
            for id in ids { schedule.hold(id) }
            for id in ids { schedule.release(id, now: later) }
        }
        #expect(schedule.timers.count <= 3 * ids.count + 4096)
        _ = schedule.advance(to: UnixTime(seconds: 5000))
        #expect(schedule.takeWork().count == 1)
    }

    @Test("The due time survives a restart")
    func dueTimeSurvivesRestart() throws {
        let directory = try TestDirectory()
        let clock = TestClock()
        let id: MessageID
        do {
            let fixture = try SpoolFixture(directory, clock: clock)
            id = try fixture.accept()
            fixture.answer(try fixture.work()[0], .deferred(deferral))
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory, clock: clock)
        #expect(try fixture.spool.list(.state(.deferred)).messages.map(\.id) == [id])
        let other = try fixture.accept(to: ["two@b.example"])
        #expect(try fixture.work().map(\.id) == [other])
        fixture.pass(67)
        #expect(try fixture.work().map(\.id) == [id])
    }

    @Test(
        "Retries end, whichever comes first",
        arguments: [
            // attempts allowed, seconds in the queue allowed, attempts made
            (1, 1000, 1), (3, 100_000, 3), (30, 250, 4),
        ] as [(UInt32, Int64, Int)])
    func retriesEnd(attempts: UInt32, seconds: Int64, made: Int) throws {
        let fixture = try SpoolFixture(try TestDirectory()) {
            $0.retry = RetryPolicy(
                schedule: [100], maximumAttempts: attempts, maximumQueueTime: seconds)
        }
        let id = try fixture.accept()
        for attempt in 1...made {
            let items = try fixture.work()
            #expect(items.map(\.id) == [id])
            fixture.answer(items[0], .deferred(deferral))
            if attempt < made {
                _ = try fixture.event { event in
                    if case .deferred(id, _, _, _, _) = event { true } else { nil }
                }
                fixture.pass(111)
            }
        }
        // The message has become a report.
        let report = try fixture.work()[0]
        #expect(report.destination.name == "smtp:client.example")
        #expect(throws: SpoolError.unknownMessage(id)) { try fixture.spool.read(id) }
    }

    @Test("Recipients are grouped by destination, and each group has a fate of its own")
    func recipientsAreGrouped() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let id = try fixture.accept(
            to: ["one@a.example", "two@b.example", "three@a.example", "four@A.EXAMPLE"])
        let items = try fixture.work(2)
        #expect(items.map(\.destination.name) == ["smtp:a.example", "smtp:b.example"])
        #expect(items.map(\.recipients) == [.indices([0, 2, 3]), .indices([1])])
        fixture.spool.record([
            DeliveryOutcome(items[1], .all(.delivered(DeliveryStatus(code: 250)))),
            DeliveryOutcome(
                items[0],
                .each([
                    (0, .delivered(DeliveryStatus(code: 250))), (2, .deferred(deferral)),
                    // Not the item's, and not there at all.
                    (1, .failed(refusal)), (77, .failed(refusal)),
                ])),
        ])
        _ = try fixture.event { event in
            if case .deferred(id, _, 1, _, _) = event { true } else { nil }
        }
        let states = try fixture.spool.show(id).recipients.map(\.state)
        #expect(states[0] == .delivered(DeliveryStatus(code: 250)))
        #expect(states[1] == .delivered(DeliveryStatus(code: 250)))
        guard case .pending(1, _, deferral) = states[2], case .pending(0, _, nil) = states[3]
        else {
            Issue.record("\(states)")
            return
        }
        fixture.pass(67)
        let again = try fixture.work()[0]
        #expect(again.recipients == .indices([2, 3]))
        fixture.answer(again, .delivered(DeliveryStatus(code: 250)))
        fixture.spool.stop()
        #expect(try SpoolFixture(fixture.directory).spool.list().messages.isEmpty)
    }

    @Test("Answers that nobody asked for change nothing")
    func staleAnswersAreIgnored() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let id = try fixture.accept()
        let item = try fixture.work()[0]
        let delivered = RecipientResult.delivered(DeliveryStatus(code: 250))
        fixture.spool.record([
            DeliveryOutcome(
                id: MessageID(rawValue: 1), destination: item.destination,
                results: .all(delivered)),
            DeliveryOutcome(
                id: id, destination: Destination(name: "smtp:elsewhere"),
                results: .all(delivered)),
            DeliveryOutcome(item, .all(.deferred(deferral))),
            // The second answer to one item.
            DeliveryOutcome(item, .all(delivered)),
        ])
        _ = try fixture.event { event in
            if case .deferred(id, _, 1, _, _) = event { true } else { nil }
        }
        fixture.answer(item, delivered)
        let other = try fixture.accept(to: ["two@b.example"])
        #expect(try fixture.work().map(\.id) == [other])
        #expect(try fixture.spool.show(id).hasPendingRecipients)
    }

    @Test("What wasn't attempted is offered again and costs no attempt")
    func notAttemptedCostsNothing() throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let id = try fixture.accept()
        for _ in 0..<3 {
            fixture.answer(try fixture.work()[0], .notAttempted)
            // Answers are taken in order: when this is on disk the one before has been seen.
            try fixture.accept(to: ["two@b.example"])
            _ = try fixture.work()
            fixture.pass(Settlement.offerAgain)
        }
        #expect(try fixture.work().map(\.id) == [id])
        #expect(try fixture.spool.show(id).attempts.isEmpty)
    }

    @Test("No more than the limit is out for one destination; the others don't wait for it")
    func outstandingIsLimited() throws {
        let fixture = try SpoolFixture(try TestDirectory()) { $0.outstandingLimit = 2 }
        for _ in 0..<3 { try fixture.accept() }
        let other = try fixture.accept(to: ["two@b.example"])
        let items = try fixture.work(3)
        #expect(items.last?.id == other)
        fixture.answer(items[0], .delivered(DeliveryStatus(code: 250)))
        #expect(try fixture.work(1).count == 1)
    }

    @Test(
        "The delay grows by the schedule, is spread by a tenth at most, and ends at the expiry",
        arguments: [
            (1, 0.0, 60), (1, 1.0, 66), (2, 0.0, 300), (3, 0.0, 900), (9, 0.0, 900), (9, 1.0, 990),
        ] as [(UInt32, Double, Int64)])
    func delays(attempts: UInt32, spread: Double, delay: Int64) {
        let policy = RetryPolicy(schedule: [60, 300, 900], maximumQueueTime: 10_000)
        let now = UnixTime(seconds: 1000)
        let next = policy.nextAttempt(after: attempts, arrival: now, now: now, spread: spread)
        #expect(next == now + delay)
        let late = UnixTime(seconds: 10_990)
        #expect(
            policy.nextAttempt(after: attempts, arrival: now, now: late, spread: spread)
                == UnixTime(seconds: 11_000))
    }
}

extension MessagePlan {
    /// One group and nothing else to say.
    init(_ id: MessageID, _ group: GroupPlan) {
        let transaction = MailTransaction(reversePath: .null, recipients: [])
        let envelope = Envelope(
            id: id, arrival: UnixTime(seconds: 0), client: ClientTrace(), transaction: transaction,
            summary: ContentSummary())
        self.init(
            envelope, place: .inline, now: UnixTime(seconds: 0),
            terms: PlanTerms(retention: 0, maximumQueueTime: 100_000, delayWarning: 0)
        ) { _ in group.destination }
        groups = [group]
    }
}
