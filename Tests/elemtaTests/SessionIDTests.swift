import ElemtaReactor
import Testing

@testable import elemta

@Suite("Session ids") struct SessionIDTests {
    @Test("a session is a UUID of version 8, told from others of its run and from other runs")
    func isUUID() {
        let first = SessionID(ConnectionID(slot: 0, generation: 0), run: 0x0123_4567_89AB_CDEF)
        #expect("\(first)" == "01234567-89ab-8def-8000-000000000000")
        let reused = SessionID(ConnectionID(slot: 7, generation: 3), run: 0x0123_4567_89AB_CDEF)
        #expect("\(reused)" == "01234567-89ab-8def-8000-000300000007")
        #expect(first != SessionID(ConnectionID(slot: 0, generation: 0), run: 1))
    }
}
