/// Where the answer to a `QueueRequest` goes: the terminal, or the control socket.
protocol QueueOutput: AnyObject {
    /// False once nobody reads any more: the work may stop.
    func write(_ octets: [UInt8]) -> Bool
    /// One sentence for standard error.
    func complain(_ text: String)
}

/// The answer goes to this process's own standard output and standard error.
final class TerminalOutput: QueueOutput {
    func write(_ octets: [UInt8]) -> Bool {
        Descriptors.writeAll(octets, to: Descriptors.standardOutput)
    }

    func complain(_ text: String) {
        _ = Descriptors.writeAll(Array("elemta: \(text)\n".utf8), to: Descriptors.standardError)
    }
}
