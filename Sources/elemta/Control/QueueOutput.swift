import ArgumentParser
import Glibc

/// Where the answer to a `QueueRequest` goes: the terminal, or the control socket.
protocol QueueOutput: AnyObject {
    /// Whether somebody still waits for the answer. Any thread.
    var wanted: @Sendable () -> Bool { get }
    /// Why what was written isn't all where it should be; nil also where nobody wants it.
    var failure: String? { get }
    /// False once nothing more gets through: the work may stop, and `failure` says whether that is
    /// anybody's business.
    func write(_ octets: [UInt8]) -> Bool
    /// One sentence for standard error.
    func complain(_ text: String)
    /// How far the work has come, for a person who waits.
    func tell(_ progress: String)
}

/// The answer goes to this process's own standard output and standard error.
final class TerminalOutput: QueueOutput {
    private var line = ProgressLine()
    private var phase = Phase.open

    private enum Phase {
        case open
        /// Whoever read it has enough of it, as `head` has.
        case unread
        case failed(errno: Int32)
    }

    /// Who waits ends the process when he has waited enough.
    var wanted: @Sendable () -> Bool { { true } }

    var failure: String? {
        guard case .failed(let code) = phase else { return nil }
        return "standard output: \(lastErrorText(code))"
    }

    func write(_ octets: [UInt8]) -> Bool {
        guard case .open = phase else { return false }
        line.clear()
        switch Descriptors.writeError(of: octets, to: Descriptors.standardOutput) {
        case nil: return true
        case EPIPE?: phase = .unread
        case let code?: phase = .failed(errno: code)
        }
        return false
    }

    /// Throws the exit status when what was written isn't all there, and says so.
    func end() throws(ExitCode) {
        guard let failure else { return }
        complain(failure)
        throw ExitStatus.ioError.code
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
