import ElemtaReactor
import ElemtaThreads
import Glibc
import Logging
import Synchronization

/// The thread that formats and writes log lines, so that no other thread ever waits for a disk or
/// a terminal.
///
/// The buffer is bounded: when it fills, debug lines are dropped first, then information, then what
/// became of messages, and warnings only when it is full. The next line that gets through says how
/// many of each level. What strangers can cause is counted instead of repeated before it gets here:
/// `LogFlood`.
final class LogWriter: Sendable {
    /// One event as it was logged; turned into text on the writer's thread.
    struct Entry: Sendable {
        let time: timespec
        let level: Logger.Level
        let event: String
        /// The event, if it is one of ours.
        let name: LogName?
        let fields: LogFields
    }

    private enum Order: Sendable {
        case line(Entry)
        /// For people at a terminal, on standard output alone.
        case text(String)
        case reopen
        /// From now on to another file, in another form.
        case change(file: String, LogLine.Form)
    }

    /// Where lines go. The thread's own.
    private struct Places {
        var output: Output
        var file: LogFile
    }

    /// Who writes standard output.
    private enum Output {
        /// This thread, which waits for its reader: there is no other place.
        case direct(LogOutput)
        /// Somebody else, since lines go to a file too.
        case beside(OutputThread)
    }

    /// Lines that may wait; about 10 MB of them at worst.
    static let capacity = 20_000

    /// How many lines may wait before one of this level is dropped.
    private static func limit(_ level: Logger.Level, isOfMessage: @autoclosure () -> Bool) -> Int {
        switch level {
        case .trace, .debug: capacity / 2
        case .info: isOfMessage() ? capacity * 9 / 10 : capacity * 3 / 4
        case .notice, .warning, .error, .critical: capacity
        }
    }

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
    private let droppedDebug = Atomic<Int>(0)
    private let droppedInfo = Atomic<Int>(0)
    /// Notices, and what matters more.
    private let droppedNotice = Atomic<Int>(0)
    private let flood: Locked<LogFlood>
    /// Lines that were lost since the start, here or on their way out, and those that wait: for the
    /// metrics.
    let droppedInAll = SharedCount()
    var backlog: Int { waiting.load(ordering: .relaxed) }
    private let thread = Locked<NamedThread?>(nil)

    /// Starts writing to standard output and, unless `file` is empty, to that file as well.
    ///
    /// - Throws: `LogFileError` when the file can't be opened, `ThreadError` when no thread starts.
    ///
    /// - Parameters:
    ///   - output: in place of standard output.
    ///   - floodWindow: in place of `LogFlood.window`.
    init(
        file path: String, form: LogLine.Form, level: Logger.Level,
        output: Int32 = Descriptors.standardOutput, floodWindow: Duration = LogFlood.window
    ) throws {
        flood = Locked(LogFlood(window: floodWindow))
        threshold = Atomic(Self.levels.firstIndex(of: level) ?? 0)
        var file = LogFile(path: path, form: form)
        try file.open()
        let opened = file
        let thread = try NamedThread("elemta-log") { [self] in
            run(Places(output: .direct(LogOutput(output)), file: opened))
        }
        self.thread.withLock { $0 = thread }
    }

    /// Queues one line. Never blocks.
    func log(_ entry: Entry) {
        if let name = entry.name, let key = LogFlood.Key(name, entry.fields) {
            guard flood.withLock({ $0.admits(key, entry.level, at: .now) }) else { return }
        }
        let limit = Self.limit(entry.level, isOfMessage: entry.name?.isOfMessage ?? false)
        guard waiting.load(ordering: .relaxed) < limit else {
            drop(entry.level)
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

    private func drop(_ level: Logger.Level) {
        switch level {
        case .trace, .debug: droppedDebug.add(1, ordering: .relaxed)
        case .info: droppedInfo.add(1, ordering: .relaxed)
        case .notice, .warning, .error, .critical: droppedNotice.add(1, ordering: .relaxed)
        }
    }

    /// Shows people at a terminal some lines, between those of the log. `text` ends with LF.
    func show(_ text: String) {
        inbox.post(.text(text))
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

    private func run(_ initial: Places) {
        var places = initial
        giveFilePrecedence(in: &places)
        defer {
            places.file.close()
            if case .beside(let output) = places.output {
                output.stop(within: Self.farewell * 3 / 4)
            }
            finished.close()
        }
        // The first line after a quiet moment is written at once; what follows it at once gathers,
        // so that a busy server wakes this thread a hundred times a second and not for each line.
        var next = takeNext()
        while true {
            switch next {
            case .elements(let orders): obey(orders, to: &places)
            case .timedOut:
                obey([], to: &places)
                next = takeNext()
                continue
            case .closed:
                obey([], to: &places, isLast: true)
                return
            }
            next = inbox.take(within: Self.gatheringTime, gathering: Self.gatheredLines)
        }
    }

    /// Waits for something to write, or for the end of a window in which lines are counted.
    private func takeNext() -> Inbox<Order>.Delivery {
        guard let end = flood.withLock({ $0.end }) else { return inbox.take() }
        return inbox.take(within: max(end - .now, .zero))
    }

    /// Does what was asked for, and says what there is to say besides.
    private func obey(_ orders: [Order], to places: inout Places, isLast: Bool = false) {
        var text: [UInt8] = []
        var lines = 0
        for order in orders {
            if case .line(let entry) = order {
                LogLine.append(entry, as: places.file.form, to: &text)
                lines += 1
                continue
            }
            write(text, to: &places)
            text.removeAll(keepingCapacity: true)
            switch order {
            case .line: break
            case .text(let words): print(Array(words.utf8), to: &places)
            case .reopen: append(places.file.reopen(at: .now), as: places.file.form, to: &text)
            case .change(let path, let form):
                let news = places.file.change(to: path, form: form, at: .now)
                giveFilePrecedence(in: &places)
                append(news, as: places.file.form, to: &text)
            }
        }
        waiting.subtract(lines, ordering: .relaxed)
        append(places.file.retry(at: .now), as: places.file.form, to: &text)
        for summary in flood.withLock({ $0.summaries(at: .now, isLast: isLast) }) {
            append(summary, as: places.file.form, to: &text)
        }
        append(takeDropped(), as: places.file.form, to: &text)
        write(text, to: &places)
    }

    /// What becomes of the file is said on standard output, and in the file when it is back.
    private func write(_ text: [UInt8], to places: inout Places) {
        guard !text.isEmpty else { return }
        let lostBefore = places.file.lostLines
        let news = places.file.write(text)
        print(text, to: &places)
        if let news {
            var line: [UInt8] = []
            append(news, as: places.file.form, to: &line)
            print(line, to: &places)
            if case .logFileRestored = news.name { _ = places.file.write(line) }
        }
        droppedInAll.add(UInt64(places.file.lostLines - lostBefore))
    }

    private func print(_ text: [UInt8], to places: inout Places) {
        switch places.output {
        case .direct(var output):
            droppedInAll.add(UInt64(output.write(text)))
            places.output = .direct(output)
        case .beside(let output):
            output.write(text)
        }
    }

    /// Where there is a file a reader of standard output that has stopped must not keep lines from
    /// it. Without a thread for that they go on as they did.
    private func giveFilePrecedence(in places: inout Places) {
        guard !places.file.path.isEmpty, case .direct(let output) = places.output else { return }
        let form = places.file.form
        let thread = try? OutputThread(output, lost: droppedInAll) { [self] count in
            var line: [UInt8] = []
            let summary = LogSummary(.logLinesDropped, [.lostLines: .number(count)])
            append(summary, as: form, to: &line)
            return line
        }
        if let thread { places.output = .beside(thread) }
    }

    private func takeDropped() -> LogSummary? {
        let debug = droppedDebug.exchange(0, ordering: .relaxed)
        let info = droppedInfo.exchange(0, ordering: .relaxed)
        let notice = droppedNotice.exchange(0, ordering: .relaxed)
        guard debug > 0 || info > 0 || notice > 0 else { return nil }
        return LogSummary(
            .logLinesDropped,
            [.debug: "\(debug)", .info: "\(info)", .notice: "\(notice)"])
    }

    /// A line of this thread's own, if it is there and of a level that is logged.
    private func append(_ line: LogSummary?, as form: LogLine.Form, to text: inout [UInt8]) {
        guard let line, line.level >= level else { return }
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        let entry = Entry(
            time: now, level: line.level, event: line.name.rawValue, name: line.name,
            fields: line.fields)
        LogLine.append(entry, as: form, to: &text)
    }
}

/// What `errno` says, in words.
func lastErrorText(_ code: Int32 = errno) -> String {
    // Safe because strerror's text is copied before anyone else can call it on this thread.
    guard let text = unsafe strerror(code) else { return "error \(code)" }
    return unsafe String(cString: text)
}
