import ElemtaReactor
import ElemtaThreads
import Glibc
import Logging
import Testing

@testable import elemta

/// A pipe that nobody reads before `lines()` is asked for.
private final class StalledPipe {
    let input: Int32
    private let output: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        // Safe because two descriptors are written into two places.
        try #require(unsafe pipe(&ends) == 0)
        (output, input) = (ends[0], ends[1])
    }

    /// Everything that was and is written, until `end` has run: nobody writes after it.
    func lines(end: () -> Void) throws -> [Substring] {
        let text = Locked<[UInt8]>([])
        let reader = try NamedThread("test-reader") { [output] in
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while case let count = Descriptors.read(output, into: &buffer), count > 0 {
                text.withLock { $0.append(contentsOf: buffer[..<count]) }
            }
            close(output)
        }
        end()
        close(input)
        reader.join()
        return String(decoding: text.withLock { $0 }, as: UTF8.self).split(separator: "\n")
    }
}

private func logger(_ writer: LogWriter) -> Logger {
    Logger(label: "test") { _ in WriterLogHandler(writer: writer) }
}

@Suite("LogWriter", .serialized, .timeLimit(.minutes(1))) struct LogWriterTests {
    @Test(
        "a reader that has stopped costs debug lines first, then information, and all are counted")
    func stalledOutput() throws {
        let pipe = try StalledPipe()
        let writer = try LogWriter(
            file: "", form: .text, level: .debug, output: pipe.input)
        let log = logger(writer)
        let posted = LogWriter.capacity * 2
        // Nobody reads: this must return all the same.
        for index in 0..<posted {
            log.debug("test_debug", metadata: ["n": "\(index)"])
            if index % 2 == 0 { log.info("test_info") }
            if index % 4 == 0 { log.write(.messageAccepted, [.id: "\(index)"]) }
            if index % 20 == 0 { log.warning("test_warning") }
        }
        let lines = try pipe.lines { writer.stop() }
        func count(_ word: String) -> Int { lines.count { $0.contains(" \(word)") } }
        var dropped: [String: Int] = [:]
        for line in lines where line.contains(" log_lines_dropped ") {
            for field in line.split(separator: " ").dropFirst(3) {
                let parts = field.split(separator: "=")
                dropped[String(parts[0]), default: 0] += Int(parts[1]) ?? 0
            }
        }
        #expect(count("test_debug") + dropped["debug", default: 0] == posted)
        #expect(
            count("test_info") + count("message_accepted") + dropped["info", default: 0]
                == posted / 2 + posted / 4)
        #expect(count("test_warning") == posted / 20)
        #expect(dropped["notice"] == 0)
        let (debug, info) = (count("test_debug"), count("test_info"))
        #expect(debug < posted / 2 && debug < info * 2, "debug goes first")
        #expect(info < count("message_accepted") * 2, "then information, then messages")
    }

    @Test("what was counted is written without another line, and the thread sleeps meanwhile")
    func windowEnds() throws {
        var ends: [Int32] = [-1, -1]
        // Safe because two descriptors are written into two places.
        try #require(unsafe pipe(&ends) == 0)
        let others = Set(SmallFile.names(in: "/proc/self/task"))
        let writer = try LogWriter(
            file: "", form: .text, level: .info, output: ends[1], floodWindow: .milliseconds(500))
        let log = logger(writer)
        for _ in 0..<(LogFlood.linesAlike + 5) {
            log.write(.commandRejected, [.client: "192.0.2.1"])
        }
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while !text.contains("repeated="),
            case let count = Descriptors.read(ends[0], into: &buffer),
            count > 0
        {
            text += String(decoding: buffer[..<count], as: UTF8.self)
        }
        #expect(text.contains("command_rejected client=192.0.2.1 repeated=5\n"))
        let threads = SmallFile.names(in: "/proc/self/task").filter { thread in
            !others.contains(thread)
                && SmallFile.read("/proc/self/task/\(thread)/comm") == "elemta-log\n"
        }
        #expect(!threads.isEmpty)
        for thread in threads {
            let spent = try #require(SmallFile.read("/proc/self/task/\(thread)/schedstat"))
            let nanoseconds = try #require(spent.split(separator: " ").first.flatMap { Int($0) })
            #expect(nanoseconds < 50_000_000, "of 500 ms it worked \(nanoseconds) ns")
        }
        writer.stop()
        for end in ends { close(end) }
    }

    @Test("a file that is full is told of once, and again when it can be written")
    func fullFile() throws {
        let path = "/tmp/elemta-log-\(UInt64.random(in: 0...UInt64.max))"
        defer { unsafe unlink(path) }
        // Safe because both are strings of ours, here and above.
        try #require(unsafe symlink("/dev/full", path) == 0)
        var file = LogFile(path: path, form: .text)
        try file.open()
        defer { file.close() }
        #expect(
            file.write(Array("a\nb\n".utf8))
                == LogSummary(
                    .logFileFailed, [.file: "\(path)", .error: "No space left on device"]))
        #expect(file.write(Array("c\n".utf8)) == nil, "it has been told of")
        #expect(file.reopen(at: .now) == LogSummary(.logReopened, [:]))
        #expect(file.write(Array("d\n".utf8)) == nil)
        unsafe unlink(path)
        #expect(file.reopen(at: .now) == LogSummary(.logReopened, [:]))
        #expect(
            file.write(Array("e\n".utf8))
                == LogSummary(.logFileRestored, [.file: "\(path)", .lostLines: "4"]))
        #expect(file.write(Array("f\n".utf8)) == nil)
        #expect(file.lostLines == 4)
        #expect(SmallFile.read(path) == "e\nf\n")
    }

    @Test("a file that can't be opened anew is told of, and the old one is written on")
    func lostFolder() throws {
        let folder = "/tmp/elemta-log-\(UInt64.random(in: 0...UInt64.max))"
        let path = "\(folder)/elemta.log"
        var file = LogFile(path: path, form: .text)
        try file.open()
        defer { file.close() }
        // Safe because both are strings of ours.
        try #require(unsafe rename(path, "\(path).1") == 0)
        try #require(unsafe mkdir(path, 0o700) == 0)
        defer { unsafe rmdir(folder) }
        let start = MonotonicTime.now
        #expect(
            file.reopen(at: start)
                == LogSummary(.logFileFailed, [.file: "\(path)", .error: "Is a directory"]))
        #expect(file.write(Array("a\n".utf8)) == nil)
        #expect(SmallFile.read("\(path).1") == "a\n")
        #expect(file.retry(at: start + .seconds(1)) == nil, "it has been told of")
        unsafe rmdir(path)
        #expect(file.retry(at: start + .milliseconds(1_999)) == nil, "once a second")
        #expect(file.retry(at: start + .seconds(2)) == LogSummary(.logReopened, [:]))
        #expect(file.retry(at: start + .seconds(9)) == nil, "it is done")
        #expect(file.write(Array("b\n".utf8)) == nil)
        #expect(SmallFile.read(path) == "b\n")
        #expect(SmallFile.read("\(path).1") == "a\n")
        for name in [path, "\(path).1"] { unsafe unlink(name) }
    }

    @Test("standard output that doesn't block gets every line whole all the same")
    func nonBlockingOutput() throws {
        let pipe = try StalledPipe()
        try #require(fcntl(pipe.input, F_SETFL, O_NONBLOCK) == 0)
        let writer = try LogWriter(file: "", form: .text, level: .info, output: pipe.input)
        let log = logger(writer)
        let words = String(repeating: "x", count: 1_000)
        for _ in 0..<1_000 { log.info("test_info", metadata: ["text": "\(words)"]) }
        let lines = try pipe.lines { writer.stop() }
        #expect(lines.count == 1_000)
        for line in lines { #expect(line.hasSuffix(" info test_info text=\(words)")) }
        #expect(writer.droppedInAll.value == 0)
    }

    @Test("lines that standard output loses are counted, and a torn one is ended before the next")
    func lostOutput() throws {
        let path = "/tmp/elemta-log-\(UInt64.random(in: 0...UInt64.max))"
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        try #require(descriptor >= 0)
        defer {
            close(descriptor)
            unsafe unlink(path)
        }
        var output = LogOutput(descriptor)
        #expect(output.write(Array("a\nb".utf8)) == 0)
        #expect(output.write(Array("c\n".utf8)) == 0)
        #expect(SmallFile.read(path) == "a\nb\nc\n")
        let full = unsafe open("/dev/full", O_WRONLY)
        defer { close(full) }
        output = LogOutput(full)
        #expect(output.write(Array("a\nb\n".utf8)) == 2)
        #expect(output.write(Array("c\n".utf8)) == 1)
        let writer = try LogWriter(file: "", form: .text, level: .info, output: full)
        for _ in 0..<3 { logger(writer).info("test_info") }
        writer.stop()
        #expect(writer.droppedInAll.value == 3)
    }

    @Test("a reader of standard output that has stopped keeps no line from the file")
    func stalledOutputBesideFile() throws {
        let path = "/tmp/elemta-log-\(UInt64.random(in: 0...UInt64.max))"
        defer { for name in [path, "\(path).1"] { unsafe unlink(name) } }
        let pipe = try StalledPipe()
        let writer = try LogWriter(file: path, form: .text, level: .info, output: pipe.input)
        let log = logger(writer)
        let words = String(repeating: "x", count: 1_000)
        // More than the pipe and the output's buffer hold together.
        let count = OutputThread.capacity / 1_000 + 2_000
        for number in 0..<count {
            if number == count / 2 {
                try #require(unsafe rename(path, "\(path).1") == 0)
                writer.reopen()
            }
            log.info("test_info", metadata: ["text": "\(words)"])
            while writer.backlog > 1_000 { sched_yield() }
        }
        while writer.backlog > 0 { sched_yield() }
        let lines = try pipe.lines {
            while writer.backlog > 0 { sched_yield() }
            writer.stop()
        }
        let inFiles = try ["\(path).1", path].map { try linesOfInfo(in: $0) }
        #expect(inFiles.reduce(0, +) == count)
        #expect(inFiles.allSatisfy { $0 > 0 }, "it was reopened meanwhile")
        let printed = lines.count { $0.contains(" test_info ") || $0.contains(" log_reopened") }
        #expect(printed < count)
        #expect(writer.droppedInAll.value == UInt64(count + 1 - printed))
        let told = lines.compactMap { $0.split(separator: "lost_lines=").dropFirst().first }
        #expect(told.compactMap { Int($0) }.reduce(0, +) == count + 1 - printed)
    }

    private func linesOfInfo(in path: String) throws -> Int {
        let descriptor = unsafe open(path, O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while case let count = Descriptors.read(descriptor, into: &buffer), count > 0 {
            text.append(contentsOf: buffer[..<count])
        }
        return String(decoding: text, as: UTF8.self).split(separator: "\n")
            .count { $0.contains(" test_info ") }
    }
}
