import ElemtaSMTP
import Testing

@testable import ElemtaAuthentication

@Suite("Guessing limits") struct GuessingLimitsTests {
    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test("an address may fail as often as it is allowed to, and again when the window is over")
    func window() throws {
        var limits = GuessingLimits(maximumFailures: 3, failureWindow: .seconds(600))
        let client = try address("192.0.2.1")
        let start = Duration.seconds(1_000_000)
        for second in 0..<3 {
            #expect(limits.admits(client, at: start + .seconds(second)))
            _ = limits.recordFailure(from: client, user: "alice", at: start + .seconds(second))
        }
        #expect(!limits.admits(client, at: start + .seconds(3)))
        #expect(!limits.admits(client, at: start + .milliseconds(599_999)))
        #expect(limits.admits(client, at: start + .seconds(600)))
        #expect(limits.admits(try address("192.0.2.2"), at: start + .seconds(3)))
    }

    @Test("whoever has one address of a customer has them all")
    func sites() throws {
        let table: [(failing: String, asking: String, isAdmitted: Bool)] = [
            ("192.0.2.1", "192.0.2.1", false), ("192.0.2.1", "192.0.2.2", true),
            ("192.0.2.1", "::ffff:192.0.2.1", false), ("::ffff:192.0.2.1", "192.0.2.1", false),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", false),
            ("2001:db8::1", "2001:db8:0:1::1", true),
            ("::1", "127.0.0.1", true),
        ]
        for (failing, asking, isAdmitted) in table {
            var limits = GuessingLimits(maximumFailures: 1, failureWindow: .seconds(1))
            _ = limits.recordFailure(from: try address(failing), user: "a", at: .zero)
            #expect(limits.admits(try address(asking), at: .zero) == isAdmitted, "\(asking)")
        }
    }

    @Test("an account's answers wait longer with each failure, at most 5 s, and never for ever")
    func delays() throws {
        var limits = GuessingLimits(maximumFailures: 1, failureWindow: .seconds(600))
        for seconds in [1, 2, 3, 4, 5, 5, 5] {
            // From anywhere: nil is an address that is exempt.
            let delay = limits.recordFailure(from: nil, user: "alice", at: .zero)
            #expect(delay == .seconds(seconds))
        }
        let other = limits.recordSuccess(user: "bob", at: .zero)
        #expect(other == .zero)
        #expect(limits.admits(try address("192.0.2.1"), at: .zero))
        let later = limits.recordFailure(from: nil, user: "alice", at: .seconds(600))
        #expect(later == .seconds(1))
    }

    @Test("a right password waits as the wrong ones before it did, and sets the account free")
    func success() {
        var limits = GuessingLimits(maximumFailures: 1, failureWindow: .seconds(600))
        for name in ["alice", "Alice", "ALICE"] {
            _ = limits.recordFailure(from: nil, user: name, at: .zero)
        }
        let first = limits.recordSuccess(user: "alice", at: .seconds(1))
        #expect(first == .seconds(3))
        let second = limits.recordSuccess(user: "alice", at: .seconds(2))
        #expect(second == .zero)
        let failure = limits.recordFailure(from: nil, user: "alice", at: .seconds(3))
        #expect(failure == .seconds(1))
    }

    @Test("a delay belongs to a number of failures")
    func delayTable() {
        let table = [(-1, 0), (0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (Int.max, 5)]
        for (count, seconds) in table {
            #expect(GuessingLimits.delay(afterFailures: count) == .seconds(seconds))
        }
    }

    @Test("an attacker with any number of addresses and names fills a table, not the memory")
    func boundedMemory() {
        var table = WindowedCounts<Int>(window: .seconds(600), capacity: 100)
        for key in 0..<10_000 { table.add(key, at: .milliseconds(key)) }
        #expect(table.keyCount == 100)
        // The first to fail are forgotten first.
        #expect(table.count(of: 9_899, at: .seconds(10)) == 0)
        #expect(table.count(of: 9_900, at: .seconds(10)) == 1)
    }

    @Test("what is over leaves the table when something new comes")
    func forgetting() {
        var table = WindowedCounts<Int>(window: .seconds(10), capacity: 100)
        for key in 0..<50 { table.add(key, at: .seconds(0)) }
        for key in 50..<60 { table.add(key, at: .seconds(5)) }
        table.add(60, at: .seconds(10))
        #expect(table.keyCount == 11)
        // A window that was cleared, or came again, is still one entry and ends when it began to.
        for _ in 0..<1_000 {
            table.clear(60)
            table.add(60, at: .seconds(11))
        }
        #expect(table.keyCount == 11)
        #expect(table.count(of: 60, at: .seconds(19)) == 1)
        table.add(61, at: .seconds(20))
        #expect(table.keyCount == 1)
        #expect(table.count(of: 61, at: .seconds(20)) == 1)
    }
}
