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
        (0..<times).count { _ in
            LogFlood.Key(name, fields).map { flood.admits($0, name.level, at: now) }
                ?? true
        }
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

    @Test("a window that nobody ended is over at its time, and its count is not lost")
    func windowEndsByItself() {
        var flood = LogFlood()
        let next = Self.start + LogFlood.window
        let fields: LogFields = [.client: "192.0.2.1"]
        #expect(admitted(&flood, .commandRejected, fields, times: 30) == LogFlood.linesAlike)
        #expect(
            admitted(&flood, .commandRejected, fields, times: 15, at: next) == LogFlood.linesAlike)
        #expect(flood.end == next + LogFlood.window)
        #expect(
            flood.summaries(at: next) == [
                LogSummary(.commandRejected, [.client: "192.0.2.1", .repeated: "20"])
            ])
        #expect(
            flood.summaries(at: next + LogFlood.window) == [
                LogSummary(.commandRejected, [.client: "192.0.2.1", .repeated: "5"])
            ])
    }

    @Test("counts of windows that nobody takes are bounded, and none is lost")
    func unsaidIsBounded() {
        var flood = LogFlood()
        var now = Self.start
        for window in 0..<50 {
            for client in 0..<20 {
                let fields: LogFields = [.client: "\(window)-\(client)"]
                _ = admitted(&flood, .commandRejected, fields, times: 11, at: now)
                _ = admitted(&flood, .tlsFailed, fields, times: 11, at: now)
            }
            now = now + LogFlood.window
        }
        let summaries = flood.summaries(at: now)
        #expect(summaries.count <= LogFlood.waitingSummaries + 2)
        let repeated = summaries.map { Int($0.fields[.repeated]?.description ?? "") ?? 0 }
        #expect(repeated.reduce(0, +) == 50 * 20 * 2)
    }

    @Test("refused content is counted by client and reply")
    func refusedContentIsCounted() {
        var flood = LogFlood()
        var written = 0
        for id in 0..<1_000 {
            written += admitted(
                &flood, .messageRejected, [.id: "\(id)", .client: "192.0.2.1", .reply: "550 No"],
                times: 1)
        }
        #expect(written == LogFlood.linesAlike)
        #expect(
            flood.summaries(at: Self.start, isLast: true) == [
                LogSummary(
                    .messageRejected, [.client: "192.0.2.1", .reply: "550 No", .repeated: "990"])
            ])
    }

    @Test("what became of a message is never counted")
    func messagesAreAlwaysWritten() {
        for name in LogName.allCases {
            #expect(name.isOfMessage == (name.fields.contains(.id) && name.sameness == nil))
        }
        for name in LogName.allCases where name.isOfMessage {
            var flood = LogFlood()
            #expect(admitted(&flood, name, [.id: "1"], times: 1_000) == 1_000, "\(name)")
            #expect(flood.end == nil)
        }
    }
}

extension LogSummary: Equatable {
    static func == (left: LogSummary, right: LogSummary) -> Bool {
        left.name == right.name && left.level == right.level
            && left.fields.metadata == right.fields.metadata
    }
}
