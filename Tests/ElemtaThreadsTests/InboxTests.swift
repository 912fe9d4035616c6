import ElemtaThreads
import Synchronization
import Testing

@Suite("Inbox") struct InboxTests {
    @Test("the owner takes everything that was posted, in order")
    func takesEverything() {
        let inbox = Inbox<Int>()
        for number in 1...3 { inbox.post(number) }
        guard case .elements(let taken) = inbox.take() else {
            Issue.record("nothing was there")
            return
        }
        #expect(taken == [1, 2, 3])
        #expect(inbox.count == 0)
    }

    @Test("a limit that passes is reported, not waited out for ever")
    func timesOut() {
        guard case .timedOut = Inbox<Int>().take(within: .milliseconds(1)) else {
            Issue.record("expected a time-out")
            return
        }
    }

    @Test("a gathering owner sleeps until there is enough")
    func gathers() throws {
        let inbox = Inbox<Int>()
        inbox.post(1)
        let poster = try NamedThread("poster") {
            inbox.post(2)
            inbox.post(3, weight: 8)
        }
        guard case .elements([1, 2, 3]) = inbox.take(gathering: 10) else {
            Issue.record("the owner was woken before there was enough")
            return
        }
        poster.join()
        inbox.post(4)
        guard case .elements([4]) = inbox.take() else {
            Issue.record("an owner that doesn't gather waited for more")
            return
        }
    }

    @Test(
        "a gathering owner takes what there is once its limit has passed, or nothing more can come")
    func gathersNotForEver() {
        let inbox = Inbox<Int>()
        inbox.post(1)
        guard case .elements([1]) = inbox.take(within: .milliseconds(1), gathering: 10) else {
            Issue.record("what was there was not taken")
            return
        }
        guard case .timedOut = inbox.take(within: .milliseconds(1), gathering: 10) else {
            Issue.record("expected a time-out")
            return
        }
        inbox.post(2)
        inbox.close()
        guard case .elements([2]) = inbox.take(gathering: 10),
            case .closed = inbox.take(gathering: 10)
        else {
            Issue.record("a closed inbox lost its element or never ended")
            return
        }
    }

    @Test("what was posted before the close is still taken, then the end is told")
    func closes() {
        let inbox = Inbox<Int>()
        inbox.post(1)
        inbox.close()
        #expect(!inbox.post(2))
        guard case .elements([1]) = inbox.take(), case .closed = inbox.take() else {
            Issue.record("a closed inbox lost its element or never ended")
            return
        }
        #expect(inbox.takeOne() == nil)
    }

    @Test("several threads share one inbox and each element goes to one of them")
    func sharedByAPool() throws {
        let inbox = Inbox<Int>()
        let sum = Mutex(0)
        let pool = try (0..<4).map { index in
            try NamedThread("pool-\(index)") {
                while let number = inbox.takeOne() { sum.withLock { $0 += number } }
            }
        }
        for number in 1...1000 { inbox.post(number) }
        inbox.close()
        for thread in pool { thread.join() }
        #expect(sum.withLock { $0 } == 500_500)
    }
}
