import ElemtaReactor
import Logging
import Testing

@testable import elemta

@Suite("LogFlood") struct LogFloodTests {
    private static let start = MonotonicTime(nanoseconds: 1_000_000_000)

    private func admitted(
        _ flood: inout LogFlood, _ name: LogName, _ fields: LogFields, times: Int,
        at now: MonotonicTime = start
    ) -> Int {
        (0..<times).count { _ in flood.admits(name, name.level, fields.metadata, at: now) }
    }

    @Test("the first lines are written, the rest is counted in one line with the same fields")
    func floodIsCounted() {
        var flood = LogFlood()
        let fields: LogFields = [.client: "192.0.2.1", .session: "1-1", .reply: "500 5.5.2 No"]
        #expect(
            admitted(&flood, .commandRejected, fields, times: 1_000) == LogFlood.linesAlike)
        #expect(flood.summaries(at: Self.start + .seconds(9)).isEmpty)
        #expect(
            flood.summaries(at: Self.start + LogFlood.window) == [
                LogSummary(.commandRejected, [.client: "192.0.2.1", .repeated: "990"])
            ])
        #expect(flood.end == nil)
        #expect(admitted(&flood, .commandRejected, fields, times: 1) == 1)
        #expect(flood.summaries(at: Self.start, isLast: true).isEmpty, "nothing was left out")
    }

    @Test("one client's flood hides no other client's lines")
    func clientsAreCountedApart() {
        var flood = LogFlood()
        _ = admitted(&flood, .commandRejected, [.client: "192.0.2.1"], times: 1_000)
        #expect(admitted(&flood, .commandRejected, [.client: "192.0.2.2"], times: 3) == 3)
        #expect(admitted(&flood, .tlsFailed, [.client: "192.0.2.1"], times: 3) == 3)
    }

    @Test("many clients can't fill the disk, nor the memory")
    func manyClientsAreBounded() {
        var flood = LogFlood()
        var written = 0
        for client in 0..<20_000 {
            written += admitted(&flood, .commandRejected, [.client: "\(client)"], times: 2)
        }
        #expect(written == LogFlood.linesOfEvent)
        #expect(
            flood.summaries(at: Self.start, isLast: true) == [
                LogSummary(.commandRejected, [.repeated: "\(40_000 - LogFlood.linesOfEvent)"])
            ])
    }

    @Test("what became of a message is never counted")
    func messagesAreAlwaysWritten() {
        for name in LogName.allCases where name.rawValue.hasPrefix("message_") {
            var flood = LogFlood()
            #expect(name.sameness == nil)
            #expect(admitted(&flood, name, [.id: "1"], times: 1_000) == 1_000, "\(name)")
            #expect(flood.end == nil)
        }
    }
}
