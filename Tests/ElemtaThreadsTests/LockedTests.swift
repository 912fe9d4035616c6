@testable import ElemtaThreads
import Testing

@Suite("Locked") struct LockedTests {
    @Test("threads that add to one value lose nothing")
    func isExclusive() throws {
        let total = Locked(0)
        let threads = try (0..<4).map { _ in
            try NamedThread("adds") {
                for _ in 0..<10_000 { total.withLock { $0 += 1 } }
            }
        }
        for thread in threads { thread.join() }
        #expect(total.withLock { $0 } == 40_000)
    }

    @Test("an error that is thrown inside leaves it unlocked")
    func unlocksAfterAnError() {
        let total = Locked(0)
        #expect(throws: ThreadError.self) {
            try total.withLock { _ throws(ThreadError) in throw ThreadError(code: 11) }
        }
        #expect(total.withLock { $0 } == 0)
    }
}
