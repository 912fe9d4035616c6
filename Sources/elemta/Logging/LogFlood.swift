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
    /// Lines with `repeated` that wait at most, besides one of each event.
    static let waitingSummaries = 1_000

    /// What lines have in common that are the same. Two values at most, and no array: one is made
    /// for each connection.
    struct Key: Hashable {
        let name: LogName
        private let first: String?
        private let second: String?

        /// Nil where each line is written.
        init?(_ name: LogName, _ fields: LogFields) {
            guard let sameness = name.sameness else { return nil }
            self.name = name
            first = sameness.first.map { fields[$0]?.description ?? "" }
            second = sameness.dropFirst().first.map { fields[$0]?.description ?? "" }
        }

        /// All of that event that have no entry of their own.
        static func rest(of name: LogName) -> Key { Key(name: name) }

        private init(name: LogName) {
            self.name = name
            first = nil
            second = nil
        }

        var fields: LogFields {
            var fields: LogFields = [:]
            for (field, value) in zip(name.sameness ?? [], [first, second]) {
                if let value { fields[field] = .text(value) }
            }
            return fields
        }
    }

    private struct Count {
        var written = 0
        var repeated = 0
        let level: Logger.Level
    }

    private let window: Duration
    private var counts: [Key: Count] = [:]
    private var linesOfEvents: [LogName: Int] = [:]
    /// Of windows that are over, and whose summaries nobody has taken yet.
    private var unsaid: [Key: Count] = [:]
    /// When the window ends that the first counted line began; nil when there was none.
    private(set) var end: MonotonicTime?

    init(window: Duration = Self.window) {
        self.window = window
    }

    /// Whether the line is to be written.
    mutating func admits(_ key: Key, _ level: Logger.Level, at now: MonotonicTime) -> Bool {
        if let end, now >= end { endWindow() }
        if end == nil { end = now + window }
        let isFull = linesOfEvents[key.name, default: 0] >= Self.linesOfEvent
        guard isFull || counts[key].map({ $0.written >= Self.linesAlike }) == true else {
            linesOfEvents[key.name, default: 0] += 1
            counts[key, default: Count(level: level)].written += 1
            return true
        }
        let counted = counts[key] == nil ? Key.rest(of: key.name) : key
        counts[counted, default: Count(level: level)].repeated += 1
        return false
    }

    /// Ends the window if its time has come, or at once where `isLast`, and says what was counted.
    mutating func summaries(at now: MonotonicTime, isLast: Bool = false) -> [LogSummary] {
        if let end, isLast || now >= end { endWindow() }
        guard !unsaid.isEmpty else { return [] }
        defer { unsaid = [:] }
        return unsaid.map { key, count in
            var fields = key.fields
            fields[.repeated] = .number(count.repeated)
            return LogSummary(name: key.name, level: count.level, fields: fields)
        }
    }

    private mutating func endWindow() {
        for (key, count) in counts where count.repeated > 0 {
            let hasPlace = unsaid[key] != nil || unsaid.count < Self.waitingSummaries
            let place = hasPlace ? key : .rest(of: key.name)
            unsaid[place, default: Count(level: count.level)].repeated += count.repeated
        }
        counts = [:]
        linesOfEvents = [:]
        end = nil
    }
}

/// A line that the log's own thread writes.
struct LogSummary {
    let name: LogName
    let level: Logger.Level
    let fields: LogFields
}

extension LogSummary {
    init(_ name: LogName, _ fields: LogFields) {
        self.init(name: name, level: name.level, fields: fields)
    }
}
