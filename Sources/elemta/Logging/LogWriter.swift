import ElemtaThreads
import Glibc
import Logging
import Synchronization

/// The thread that formats and writes log lines, so that no other thread ever waits for a disk or
/// a terminal.
///
/// The buffer is bounded: when it is full, lines are dropped (debug lines at half of it) and the
/// next line that gets through says how many.
final class LogWriter: Sendable {
    /// One event as it was logged; turned into text on the writer's thread.
    struct Entry: Sendable {
        let time: timespec
        let level: Logger.Level
        let event: Logger.Message
        let metadata: Logger.Metadata?
    }

    private enum Order: Sendable {
        case line(Entry)
        case reopen
        /// From now on to another file, in another form.
        case change(file: String, LogLine.Form)
    }

    /// Lines that may wait; about 10 MB of them at worst.
    private static let capacity = 20_000

    /// What a reader of standard output that has stopped gets at the end, before its lines are lost
    /// and the process ends all the same.
    private static let farewell = Duration.seconds(2)

    private static let gatheringTime = Duration.milliseconds(10)
    private static let gatheredLines = 500

    /// The place of the least level that is logged among all.
    private let threshold: Atomic<Int>
    private let inbox = Inbox<Order>()
    /// Closed when the thread has written its last line.
    private let finished = Inbox<Never>()
    private let waiting = Atomic<Int>(0)
    private let dropped = Atomic<Int>(0)
    /// Lines that were dropped since the start, and those that wait: for the metrics.
    let droppedInAll = SharedCount()
    var backlog: Int { waiting.load(ordering: .relaxed) }
    private let thread = Locked<NamedThread?>(nil)

    /// Starts writing to standard output and, unless `file` is empty, to that file as well.
    ///
    /// - Throws: `LogFileError` when the file can't be opened, `ThreadError` when no thread starts.
    init(file path: String, form: LogLine.Form, level: Logger.Level) throws {
        threshold = Atomic(Self.levels.firstIndex(of: level) ?? 0)
        var file = LogFile(path: path, form: form)
        try file.open()
        let opened = file
        let thread = try NamedThread("elemta-log") { [self] in run(file: opened) }
        self.thread.withLock { $0 = thread }
    }

    /// Queues one line. Never blocks.
    func log(_ entry: Entry) {
        let limit = entry.level <= .debug ? Self.capacity / 2 : Self.capacity
        guard waiting.load(ordering: .relaxed) < limit else {
            dropped.add(1, ordering: .relaxed)
            droppedInAll.add()
            return
        }
        waiting.add(1, ordering: .relaxed)
        inbox.post(.line(entry))
    }

    private static let levels = Logger.Level.allCases

    /// What is less isn't logged.
    var level: Logger.Level {
        get { Self.levels[threshold.load(ordering: .relaxed)] }
        set { threshold.store(Self.levels.firstIndex(of: newValue) ?? 0, ordering: .relaxed) }
    }

    /// Goes on in another file, unless `path` is empty, and in another form.
    func change(file path: String, form: LogLine.Form) {
        inbox.post(.change(file: path, form))
    }

    /// Throws when a file can't be written to; makes it otherwise.
    static func check(file path: String) throws(LogFileError) {
        var file = LogFile(path: path, form: .text)
        try file.open()
        file.close()
    }

    /// Opens the file anew, after logrotate moved it.
    func reopen() {
        inbox.post(.reopen)
    }

    /// Writes what waits and ends the thread, unless nobody takes what it writes.
    func stop() {
        inbox.close()
        guard let thread = thread.withLock({ $0.take() }),
            case .closed = finished.take(within: Self.farewell)
        else { return }
        thread.join()
    }

    private func run(file initial: LogFile) {
        var file = initial
        defer {
            file.close()
            finished.close()
        }
        // The first line after a quiet moment is written at once; what follows it at once gathers,
        // so that a busy server wakes this thread a hundred times a second and not for each line.
        var next = inbox.take()
        while true {
            switch next {
            case .elements(let orders): write(orders, to: &file)
            case .timedOut:
                next = inbox.take()
                continue
            case .closed: return
            }
            next = inbox.take(within: Self.gatheringTime, gathering: Self.gatheredLines)
        }
    }

    private func write(_ orders: [Order], to file: inout LogFile) {
        var text: [UInt8] = []
        var lines = 0
        for order in orders {
            switch order {
            case .line(let entry):
                LogLine.append(entry, as: file.form, to: &text)
                lines += 1
            case .reopen:
                file.write(text)
                text.removeAll(keepingCapacity: true)
                file.reopen()
            case .change(let path, let form):
                file.write(text)
                text.removeAll(keepingCapacity: true)
                file.change(to: path, form: form)
            }
        }
        waiting.subtract(lines, ordering: .relaxed)
        let lost = dropped.exchange(0, ordering: .relaxed)
        if lost > 0 {
            var now = timespec()
            unsafe clock_gettime(CLOCK_REALTIME, &now)
            let entry = Entry(
                time: now, level: .warning, event: "log_lines_dropped",
                metadata: ["count": "\(lost)"])
            LogLine.append(entry, as: file.form, to: &text)
        }
        file.write(text)
    }
}

/// The log cannot be written where the configuration says.
struct LogFileError: Error, CustomStringConvertible {
    let path: String
    let reason: String

    var description: String { "logging.file: cannot open \(path): \(reason)" }
}

/// Standard output and, beside it, the file of `logging.file`.
private struct LogFile {
    private(set) var path: String
    private(set) var form: LogLine.Form
    private var descriptor: Int32 = -1

    init(path: String, form: LogLine.Form) {
        self.path = path
        self.form = form
    }

    mutating func change(to path: String, form: LogLine.Form) {
        self.form = form
        guard path != self.path else { return }
        var other = LogFile(path: path, form: form)
        // It could be opened a moment ago; else the old one stays.
        guard (try? other.open()) != nil else { return }
        close()
        self = other
    }

    mutating func open() throws(LogFileError) {
        guard !path.isEmpty else { return }
        createDirectory()
        descriptor = unsafe Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw LogFileError(path: path, reason: lastErrorText()) }
    }

    /// On failure the old file stays open: a line in the wrong place beats a lost one.
    mutating func reopen() {
        let previous = descriptor
        do {
            try open()
            if previous >= 0 { Glibc.close(previous) }
        } catch {
            descriptor = previous
        }
    }

    mutating func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    func write(_ octets: [UInt8]) {
        guard !octets.isEmpty else { return }
        Descriptors.writeAll(octets, to: Descriptors.standardOutput)
        if descriptor >= 0 { Descriptors.writeAll(octets, to: descriptor) }
    }

    private func createDirectory() {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let directory = parts.joined(separator: "/")
        guard !directory.isEmpty else { return }
        unsafe mkdir(directory, 0o750)
    }
}

/// What `errno` says, in words.
func lastErrorText(_ code: Int32 = errno) -> String {
    // Safe because strerror's text is copied before anyone else can call it on this thread.
    guard let text = unsafe strerror(code) else { return "error \(code)" }
    return unsafe String(cString: text)
}
