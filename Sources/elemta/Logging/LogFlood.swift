import ElemtaReactor
import Logging

/// Counts lines that are the same instead of repeating them, so that nobody fills a disk by doing
/// the same thing over and over. What is the same, `LogName.sameness` says.
///
/// Within `window` the first lines are written, then they are counted; at its end one line with the
/// same fields says how many there were more (`repeated`). What it holds is bounded: an event has at
/// most `linesOfEvent` lines in a window, whatever their fields, and no line makes an entry that
/// isn't written.
struct LogFlood {
    static let window = Duration.seconds(10)
    /// Lines with the same fields that are written in a window.
    static let linesAlike = 10
    /// Lines of one event that are written in a window.
    static let linesOfEvent = 200

    private struct Key: Hashable {
        let name: LogName
        /// Nil: all of that event that have no entry of their own.
        let values: [String]?
    }

    private struct Count {
        var written = 0
        var repeated = 0
        let level: Logger.Level
        let fields: Logger.Metadata
    }

    private var counts: [Key: Count] = [:]
    private var linesOfEvents: [LogName: Int] = [:]
    /// When the window ends that the first counted line began; nil when there was none.
    private(set) var end: MonotonicTime?

    /// Whether the line is to be written.
    mutating func admits(
        _ name: LogName, _ level: Logger.Level, _ metadata: Logger.Metadata?,
        at now: MonotonicTime
    ) -> Bool {
        guard let sameness = name.sameness else { return true }
        if end == nil { end = now + Self.window }
        let fields = (metadata ?? [:]).filter { field in
            sameness.contains { $0.rawValue == field.key }
        }
        let key = Key(name: name, values: sameness.map { fields[$0.rawValue]?.description ?? "" })
        let isFull = linesOfEvents[name, default: 0] >= Self.linesOfEvent
        guard isFull || counts[key].map({ $0.written >= Self.linesAlike }) == true else {
            linesOfEvents[name, default: 0] += 1
            counts[key, default: Count(level: level, fields: fields)].written += 1
            return true
        }
        if counts[key] != nil {
            counts[key]?.repeated += 1
        } else {
            let rest = Key(name: name, values: nil)
            counts[rest, default: Count(level: level, fields: [:])].repeated += 1
        }
        return false
    }

    /// Ends the window if its time has come, or at once where `isLast`, and says what was counted.
    mutating func summaries(at now: MonotonicTime, isLast: Bool = false) -> [LogSummary] {
        guard let end, isLast || now >= end else { return [] }
        defer { self = LogFlood() }
        return counts.filter { $0.value.repeated > 0 }.map { key, count in
            var fields = count.fields
            fields[LogField.repeated.rawValue] = "\(count.repeated)"
            return LogSummary(name: key.name, level: count.level, fields: fields)
        }
    }
}

/// A line that the log's own thread writes.
struct LogSummary: Equatable {
    let name: LogName
    let level: Logger.Level
    let fields: Logger.Metadata
}

extension LogSummary {
    init(_ name: LogName, _ fields: LogFields) {
        self.init(name: name, level: name.level, fields: fields.metadata)
    }
}
