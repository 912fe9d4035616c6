import ElemtaReactor
import Glibc
import Logging

/// The log cannot be written where the configuration says.
struct LogFileError: Error, CustomStringConvertible {
    let path: String
    let reason: String

    var description: String { "logging.file: cannot open \(path): \(reason)" }
}

/// The file of `logging.file`, if any. The log writer's thread only.
///
/// A file that can't be written (its disk is full) is tried again with each batch of lines; the
/// lines in between are on standard output alone. One that can't be opened is tried again with a
/// batch too, once a second at most.
struct LogFile {
    private enum Condition {
        case good
        /// So many lines are missing. `isTorn`: the last one in the file has no end.
        case failing(lostLines: Int, isTorn: Bool)
    }

    private(set) var path: String
    private(set) var form: LogLine.Form
    private var descriptor: Int32 = -1
    private var condition = Condition.good
    /// The file that couldn't be opened, and when it is tried again.
    private var wanted: (path: String, next: MonotonicTime)?
    /// Lines that are not in it, or not whole, since the start.
    private(set) var lostLines = 0

    private static let retryInterval = Duration.seconds(1)

    init(path: String, form: LogLine.Form) {
        self.path = path
        self.form = form
    }

    /// Returns what is to be said when the other file can't be opened, though it could a moment ago:
    /// the old one stays, until `retry(at:)` succeeds.
    mutating func change(
        to path: String, form: LogLine.Form, at now: MonotonicTime
    ) -> LogSummary? {
        self.form = form
        guard path != self.path else { return nil }
        wanted = nil
        let news = move(to: path, at: now)
        return news?.name == .logReopened ? nil : news
    }

    /// Returns what came of it. On failure the old file stays open, until `retry(at:)` succeeds: a
    /// line in the wrong place beats a lost one.
    mutating func reopen(at now: MonotonicTime) -> LogSummary? {
        wanted = nil
        return move(to: path, at: now)
    }

    /// Tries again what failed, once a second at most. Returns what is to be said when it is done.
    mutating func retry(at now: MonotonicTime) -> LogSummary? {
        guard let wanted, now >= wanted.next else { return nil }
        return move(to: wanted.path, at: now)
    }

    /// A failure is told of once.
    private mutating func move(to path: String, at now: MonotonicTime) -> LogSummary? {
        var other = LogFile(path: path, form: form)
        do throws(LogFileError) {
            try other.open()
        } catch {
            let isTold = wanted != nil
            wanted = (path, now + Self.retryInterval)
            return isTold ? nil : other.failure(error.reason)
        }
        close()
        if case .failing(let lost, _) = condition, path == self.path {
            other.condition = .failing(lostLines: lost, isTorn: false)
        }
        other.lostLines = lostLines
        self = other
        return LogSummary(.logReopened, [:])
    }

    mutating func open() throws(LogFileError) {
        guard !path.isEmpty else { return }
        createDirectory()
        descriptor = unsafe Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw LogFileError(path: path, reason: lastErrorText()) }
    }

    mutating func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    /// Writes whole lines. Returns what is to be said of the file, when that has changed.
    mutating func write(_ lines: [UInt8]) -> LogSummary? {
        guard descriptor >= 0, !lines.isEmpty else { return nil }
        switch condition {
        case .good:
            let (count, error) = Descriptors.write(lines, to: descriptor)
            guard let error else { return nil }
            let lost = Self.lineCount(of: lines[count...])
            lostLines += lost
            condition = .failing(lostLines: lost, isTorn: Self.isTorn(lines[..<count]))
            return failure(lastErrorText(error))
        case .failing(let lostBefore, let isTorn):
            let end = isTorn ? [UInt8(ascii: "\n")] : []
            let count = Descriptors.write(end + lines, to: descriptor).count - end.count
            guard count < lines.count else {
                condition = .good
                return LogSummary(
                    .logFileRestored, [.file: "\(path)", .lostLines: "\(lostBefore)"])
            }
            let rest = max(count, 0)
            let lost = Self.lineCount(of: lines[rest...])
            lostLines += lost
            condition = .failing(
                lostLines: lostBefore + lost,
                isTorn: count < 0 ? isTorn : Self.isTorn(lines[..<rest]))
            return nil
        }
    }

    private func failure(_ reason: String) -> LogSummary {
        LogSummary(.logFileFailed, [.file: "\(path)", .error: "\(reason)"])
    }

    private static func isTorn(_ written: ArraySlice<UInt8>) -> Bool {
        written.last.map { $0 != UInt8(ascii: "\n") } ?? false
    }

    private static func lineCount(of octets: ArraySlice<UInt8>) -> Int {
        octets.count { $0 == UInt8(ascii: "\n") }
    }

    private func createDirectory() {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let directory = parts.joined(separator: "/")
        guard !directory.isEmpty else { return }
        unsafe mkdir(directory, 0o750)
    }
}
