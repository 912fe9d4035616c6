import ElemtaThreads
import Glibc
import Logging
import Testing

@testable import elemta

/// A folder of one test's own, removed with the files that were written into it.
final class LoginsFolder {
    private let folder: String
    private var files: Set<String> = []

    init() throws {
        var template = Array("/tmp/elemta-logins-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer -> String? in
            // Safe because the template is NUL-terminated and lives as long as the call.
            guard let start = buffer.baseAddress, let name = unsafe mkdtemp(start) else {
                return nil
            }
            return unsafe String(cString: name)
        }
        folder = try #require(made)
    }

    deinit {
        for path in files { unsafe unlink(path) }
        unsafe rmdir(folder)
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// Puts a file there in one step, as an editor does, and answers its path.
    @discardableResult
    func write(_ text: String, to name: String, mode: mode_t = 0o600) throws -> String {
        let new = path("\(name).new")
        let descriptor = unsafe open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        files.insert(path(name))
        try #require(Descriptors.writeAll(Array(text.utf8), to: descriptor))
        try #require(unsafe rename(new, path(name)) == 0)
        return path(name)
    }
}

/// A log that keeps its lines, without their times, for the test to read.
final class RecordedLog: Sendable {
    private struct Handler: LogHandler {
        let lines: Inbox<String>
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            var text: [UInt8] = []
            LogLine.append(
                .init(
                    time: timespec(), level: event.level, event: event.message.description,
                    name: nil, fields: LogFields(event.metadata ?? [:])),
                as: .text, to: &text)
            let line = String(decoding: text, as: UTF8.self).split(separator: " ", maxSplits: 1)
            lines.post(String(line[1].dropLast()))
        }
    }

    private let lines = Inbox<String>()

    var log: Logger { Logger(label: "test") { [lines] _ in Handler(lines: lines) } }

    /// The next line, when it comes.
    func next() -> String? { lines.takeOne() }

    /// Those that nobody has taken yet.
    func waiting() -> [String] {
        guard case .elements(let taken) = lines.take(within: .zero) else { return [] }
        return taken
    }
}

/// A port of 127.0.0.1 that is taken and on which nobody listens: connecting is refused.
final class UnusedPort {
    private let descriptor: Int32
    let number: UInt16

    init() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        try #require(descriptor >= 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        // Safe because the address is as long as `size` says, before and after.
        let isBound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
            }
        }
        try #require(isBound)
        number = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(descriptor) }
}
