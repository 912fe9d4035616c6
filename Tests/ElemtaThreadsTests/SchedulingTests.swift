import ElemtaThreads
import Glibc
import Testing

@Suite("Scheduling") struct SchedulingTests {
    @Test("a thread waits its turn from when it says so until it says otherwise")
    func policies() throws {
        let found = Locked<[Int32]>([])
        let thread = try NamedThread("test") {
            for scheduling in [Scheduling.batch, .usual] {
                scheduling.apply()
                found.withLock { $0.append(sched_getscheduler(0)) }
            }
        }
        thread.join()
        #expect(found.withLock { $0 } == [3, SCHED_OTHER], "SCHED_BATCH is 3")
    }
}
