import ElemtaReactor

/// One client of the control socket. Reactor thread only.
final class ControlSession: ConnectionDelegate {
    /// How long the request itself may take to arrive.
    static let requestLimit = Duration.seconds(5)

    private enum Phase {
        case awaitingRequest
        case answering
        case ended
    }

    var id = ConnectionID(slot: 0, generation: 0)
    var connection: Connection?
    /// For whoever answers.
    let credit = AnswerCredit()
    private let asked: (ControlSession, [String]) -> Void
    private let ended: (ControlSession) -> Void
    private var phase = Phase.awaitingRequest
    private var sentCount = 0
    /// Of the request, as much as has come.
    private var gathered: [UInt8] = []

    init(
        asked: @escaping (ControlSession, [String]) -> Void,
        ended: @escaping (ControlSession) -> Void
    ) {
        self.asked = asked
        self.ended = ended
    }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        switch event {
        case .connected, .tlsEstablished: break
        case .readable: read(connection)
        case .drained, .unsentBelowLimit: giveCredit()
        case .closedByPeer, .failed, .closed: close()
        }
    }

    func send(_ frame: ControlFrame) {
        guard let connection else { return }
        connection.write(frame.octets)
        switch frame {
        case .output(let octets), .complaint(let octets): sentCount += octets.count
        case .progress: break
        case .exit:
            connection.closeAfterFlush()
            close()
        }
    }

    /// One sentence for standard error, and the exit status.
    func refuse(_ text: String, _ status: ExitStatus) {
        send(.complaint(Array("elemta: \(text)\n".utf8)))
        send(.exit(status.rawValue))
    }

    func close() {
        if case .ended = phase { return }
        phase = .ended
        credit.end()
        connection = nil
        ended(self)
    }

    /// Gives the connection away: it is no control session any more.
    func release() -> Connection? {
        let released = connection
        close()
        return released
    }

    private func giveCredit() {
        guard sentCount > 0 else { return }
        credit.give(sentCount)
        sentCount = 0
    }

    private func read(_ connection: Connection) {
        guard case .awaitingRequest = phase else {
            connection.withInput { $0.drain($0.count) }
            return
        }
        var end: Int?
        connection.withInput { input in
            while end == nil, input.count > 0 {
                let piece = input.takeFirstSegment()
                end = piece.firstIndex(of: UInt8(ascii: "\n")).map { gathered.count + $0 }
                gathered += piece
            }
        }
        guard gathered.count <= ControlFrame.longestRequest else {
            return refuse(ControlFrame.tooLong, .usage)
        }
        guard let end else { return }
        guard let words = ControlFrame.words(of: gathered[..<end]) else { return close() }
        gathered = []
        phase = .answering
        asked(self, words)
    }
}
