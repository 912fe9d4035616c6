import ElemtaSMTP
import Testing

@testable import ElemtaQueue

@Suite struct CensusTests {
    private static let now = UnixTime(seconds: 1_000_000)

    private static func id(age: Int64, _ number: UInt64 = 0) -> MessageID {
        MessageID(rawValue: UInt64(now.seconds - age) * 1_000_000_000 + number)
    }

    private func ages(_ census: QueueCensus, _ state: QueueState) -> [Int64: Int] {
        var ages: [Int64: Int] = [:]
        census.forEachAge(in: state, at: Self.now) {
            ages[$0 / QueueCensus.resolution, default: 0] += $1
        }
        return ages
    }

    @Test("Messages are counted by state and by the half minute of their age")
    func countsByAge() {
        var census = QueueCensus()
        for (age, number) in [(0, 1), (3600, 2), (3600, 3), (86_400, 4)] as [(Int64, UInt64)] {
            census.add(Self.id(age: age, number), in: .deferred)
        }
        census.add(Self.id(age: 60), in: .hold)
        #expect(census.count(in: .deferred) == 4 && census.count(in: .hold) == 1)
        let deferred = ages(census, .deferred)
        #expect(deferred.values.sorted() == [1, 1, 2])
        #expect(deferred[120] == 2)
        census.remove(Self.id(age: 3600, 2), in: .deferred)
        #expect(ages(census, .deferred)[120] == 1)
        #expect(census.count(in: .active) == 0)
    }

    @Test("A clock that was set back makes no message younger than new")
    func clockSetBack() {
        var census = QueueCensus()
        census.add(Self.id(age: -5000), in: .active)
        #expect(ages(census, .active) == [0: 1])
    }

    /// Whatever is done to the schedule, its census is what a walk through all messages would find.
    @Test("The census follows the schedule", arguments: 0..<20)
    func followsSchedule(seed: UInt64) {
        var random = Random(state: seed &* 0x9E37_79B9 &+ 1)
        var schedule = Schedule(outstandingLimit: 2)
        let names = (0..<3).map { Destination(name: "smtp:\($0).example") }
        let ids = (0..<30).map { Self.id(age: Int64($0) * 977, UInt64($0)) }
        for step in 0..<600 {
            let id = ids[Int(random.next() % 30)]
            let now = UnixTime(seconds: Self.now.seconds + Int64(step))
            switch random.next() % 8 {
            case 0, 1:
                let states: [QueuedMessage.State] = [
                    .ready, .waiting(until: now.seconds + 40), .held(until: now.seconds),
                ]
                var plan = MessagePlan(
                    id,
                    GroupPlan(
                        destination: names[0], state: states[Int(random.next() % 3)],
                        members: .allPending(1)))
                if random.next() % 3 == 0 {
                    plan.groups = (0..<3).map { index in
                        GroupPlan(
                            destination: names[index], state: states[Int(random.next() % 2)],
                            members: .indices([UInt32(index)]))
                    }
                }
                schedule.add(plan)
            case 2: schedule.remove(id)
            case 3: schedule.hold(id)
            case 4: schedule.release(id, now: now)
            case 5: schedule.expedite(id)
            case 6: _ = schedule.advance(to: now)
            case _:
                for item in schedule.takeWork() where random.next() % 2 == 0 {
                    guard let answer = schedule.answer(item.id, item.destination) else { continue }
                    schedule.settle(
                        item.id, item.destination,
                        with: [
                            GroupPlan(
                                destination: item.destination,
                                state: .waiting(until: now.seconds + 20), members: answer.members)
                        ])
                }
            }
            var counted: [QueueState: Int] = [:]
            for message in schedule.messages.values { counted[message.queueState, default: 0] += 1 }
            for state in QueueState.allCases {
                #expect(schedule.census.count(in: state) == counted[state, default: 0])
            }
        }
    }

    /// The same numbers for the same seed.
    private struct Random {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 33
        }
    }
}
