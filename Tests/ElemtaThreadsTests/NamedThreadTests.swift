import ElemtaThreads
import Glibc
import Testing

@Suite("NamedThread") struct NamedThreadTests {
    @Test(
        "a thread for batches waits its turn, others are scheduled as usual",
        arguments: [(NamedThread.Scheduling.usual, SCHED_OTHER), (.batch, 3)])
    func scheduling(wanted: NamedThread.Scheduling, policy: Int32) throws {
        let found = Locked(Int32(-1))
        let thread = try NamedThread("test", wanted) {
            found.withLock { $0 = sched_getscheduler(0) }
        }
        thread.join()
        #expect(found.withLock { $0 } == policy)
    }
}
