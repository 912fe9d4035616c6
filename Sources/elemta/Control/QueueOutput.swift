import Glibc

/// Where the answer to a `QueueRequest` goes: the terminal, or the control socket.
protocol QueueOutput: AnyObject {
    /// False once nobody reads any more: the work may stop.
    func write(_ octets: [UInt8]) -> Bool
    /// One sentence for standard error.
    func complain(_ text: String)
    /// How far the work has come, for a person who waits.
    func tell(_ progress: String)
}

/// The answer goes to this process's own standard output and standard error.
final class TerminalOutput: QueueOutput {
    private var line = ProgressLine()

    func write(_ octets: [UInt8]) -> Bool {
        line.clear()
        return Descriptors.writeAll(octets, to: Descriptors.standardOutput)
    }

    func complain(_ text: String) {
        complain(Array("elemta: \(text)\n".utf8))
    }

    /// Octets for standard error as they are.
    func complain(_ octets: [UInt8]) {
        line.clear()
        Descriptors.writeAll(octets, to: Descriptors.standardError)
    }

    func tell(_ progress: String) { line.show(progress) }
}

/// A line of standard error that is written again and again, where that is a terminal.
private struct ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private var isShown = false

    mutating func show(_ text: String) {
        guard isTerminal else { return }
        isShown = true
        Descriptors.writeAll(Array("\r\u{1B}[K\(text)".utf8), to: Descriptors.standardError)
    }

    mutating func clear() {
        guard isShown else { return }
        isShown = false
        Descriptors.writeAll(Array("\r\u{1B}[K".utf8), to: Descriptors.standardError)
    }
}
