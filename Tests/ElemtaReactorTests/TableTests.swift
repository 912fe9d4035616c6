import ElemtaReactor
import Testing

@Suite("ConnectionTable") struct TableTests {
    final class Slot {
        let name: String
        init(_ name: String) { self.name = name }
    }

    @Test("the name of a connection that is gone finds nothing, though its slot is used again")
    func completionForReusedSlotIsDropped() {
        let table = ConnectionTable<Slot>()
        let first = table.insert(Slot("first"))
        #expect(table.remove(first)?.name == "first")
        let second = table.insert(Slot("second"))
        #expect(second.slot == first.slot && second != first)
        #expect(table[first] == nil)
        #expect(table.remove(first) == nil)
        table.setDeadline(MonotonicTime(nanoseconds: 0), for: first)
        table.expire(at: .now) { _, slot in Issue.record("\(slot.name) had no deadline") }
        #expect(table[second]?.name == "second")
        #expect(table.count == 1)
        #expect(table[ConnectionID(slot: 99, generation: 0)] == nil)
    }

    @Test("a deadline is told once, and not when an expiry before it took it away")
    func expires() {
        let table = ConnectionTable<Slot>()
        let ids = ["a", "b", "c", "d"].map { table.insert(Slot($0)) }
        let now = MonotonicTime.now
        for (id, delay) in zip(ids, [-1, -1, -1, 60]) {
            table.setDeadline(now + .seconds(delay), for: id)
        }
        var told: [String] = []
        for _ in 0..<2 {
            table.expire(at: now) { id, slot in
                told.append(slot.name)
                table.remove(ids[1])
                table.setDeadline(now + .seconds(60), for: ids[2])
                _ = table.insert(Slot("new"))
            }
        }
        #expect(told == ["a"])
        #expect(table.count == 4)
        var visited: [String] = []
        table.forEach { id, slot in
            visited.append(slot.name)
            table.remove(id)
        }
        #expect(visited.sorted() == ["a", "c", "d", "new"])
        #expect(table.count == 0)
    }

    @Test("a client that trickles octets meets its deadline all the same")
    func deadlineFiresThoughOctetsTrickle() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        let table = ConnectionTable<Connection>()
        let id = table.insert(connection)
        let deadline = MonotonicTime.now + .milliseconds(60)
        table.setDeadline(deadline, for: id)
        let trickle = test.loop.every(.milliseconds(5)) { peer.send("x") }
        let sweep = test.loop.every(.milliseconds(10)) {
            // On a busy machine the deadline may come before the octets.
            guard recorder.received.count >= 3 else { return }
            table.expire(at: test.loop.now) { expired, connection in
                #expect(expired == id)
                connection.close()
                test.loop.stop()
            }
        }
        test.run("the deadline")
        #expect(MonotonicTime.now >= deadline)
        trickle.cancel()
        sweep.cancel()
    }

    @Test("time is added and subtracted, and stops at the ends of the clock")
    func arithmetic() {
        let time = MonotonicTime(nanoseconds: 5_000_000_000)
        #expect((time + .milliseconds(1500)).nanoseconds == 6_500_000_000)
        #expect((time + .milliseconds(-1500)).nanoseconds == 3_500_000_000)
        #expect((time + .seconds(-6)).nanoseconds == 0)
        #expect((time + .seconds(Int64.max)).nanoseconds == .max)
        #expect(time + .seconds(2) - time == .seconds(2))
        #expect(time - (time + .seconds(2)) == .seconds(-2))
    }
}
