/// Standard output and standard error of a request that is answered over the socket.
///
/// Answering thread only. Blocks while the client is more than `window` octets behind, so that a
/// list of a million messages never lies in memory as a whole, and a pager may take its time.
final class ControlOutput: QueueOutput {
    private static let window = 1024 * 1024

    private let credit: AnswerCredit
    private let send: @Sendable (ControlFrame) -> Void
    private var gathered: [UInt8] = []
    private var outstanding = 0

    init(credit: AnswerCredit, send: @escaping @Sendable (ControlFrame) -> Void) {
        self.credit = credit
        self.send = send
    }

    var wanted: @Sendable () -> Bool { { [credit] in !credit.isGone } }

    /// A client that is gone has nobody to tell.
    var failure: String? { nil }

    func write(_ octets: [UInt8]) -> Bool {
        gathered.append(contentsOf: octets)
        return gathered.count < ControlFrame.longestPayload || flush()
    }

    func complain(_ text: String) {
        let octets = Array("elemta: \(text)\n".utf8.prefix(ControlFrame.longestPayload))
        guard flush(), wait() else { return }
        outstanding += octets.count
        send(.complaint(octets))
    }

    func tell(_ progress: String) {
        send(.progress(Array(progress.utf8.prefix(ControlFrame.longestPayload))))
    }

    /// False once the client is gone.
    @discardableResult
    func flush() -> Bool {
        var rest = gathered[...]
        // Whatever becomes of it is never sent again.
        gathered = []
        while !rest.isEmpty {
            guard wait() else { return false }
            let piece = Array(rest.prefix(ControlFrame.longestPayload))
            rest = rest.dropFirst(piece.count)
            outstanding += piece.count
            send(.output(piece))
        }
        return wanted()
    }

    private func wait() -> Bool {
        while outstanding >= Self.window {
            guard let count = credit.wait() else { return false }
            outstanding -= count
        }
        return wanted()
    }
}
