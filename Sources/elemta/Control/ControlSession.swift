import ElemtaReactor
import ElemtaThreads

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
    /// Octets that the client has taken, for whoever answers.
    let credit = Inbox<Int>()
    private let asked: (ControlSession, [String]) -> Void
    private let ended: (ControlSession) -> Void
    private var phase = Phase.awaitingRequest
    private var sentCount = 0

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
        case .output(let octets): sentCount += octets.count
        case .complaint, .progress: break
        case .exit:
            connection.closeAfterFlush()
            close()
        }
    }

    func close() {
        if case .ended = phase { return }
        phase = .ended
        credit.close()
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
        credit.post(sentCount)
        sentCount = 0
    }

    private func read(_ connection: Connection) {
        guard case .awaitingRequest = phase else {
            connection.withInput { $0.drain($0.count) }
            return
        }
        let request = connection.withInput { input -> [UInt8]? in
            input.makeContiguous(min(input.count, ControlFrame.longestRequest))
            let line = input.withFirstSegment { segment -> [UInt8]? in
                for index in segment.indices where segment[index] == UInt8(ascii: "\n") {
                    return segment.extracting(..<index).copied
                }
                return nil
            }
            if let line { input.drain(line.count + 1) }
            return line
        }
        guard let request else {
            if connection.withInput({ $0.count }) >= ControlFrame.longestRequest { close() }
            return
        }
        guard let words = ControlFrame.words(of: request) else { return close() }
        phase = .answering
        asked(self, words)
    }
}

extension Span<UInt8> {
    /// The octets as an array.
    var copied: [UInt8] {
        var octets: [UInt8] = []
        octets.reserveCapacity(count)
        for index in indices { octets.append(self[index]) }
        return octets
    }
}
