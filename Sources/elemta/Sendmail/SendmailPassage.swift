import ElemtaReactor
import ElemtaThreads
import Glibc

/// `sendmail -bs`: what comes on standard input goes to the server, and what the server says goes to
/// standard output.
final class SendmailPassage: ConnectionDelegate {
    private let loop: EventLoop
    private var connection: Connection?
    private var failure: ReactorError?

    private init(_ loop: EventLoop) {
        self.loop = loop
    }

    /// Returns when the server has closed; throws when it can't be reached or the connection breaks.
    static func run(to address: SocketAddress) throws {
        let loop = try EventLoop()
        let passage = SendmailPassage(loop)
        let connection = try Connection.connect(
            loop: loop, to: address, timeout: .seconds(30), delegate: passage)
        passage.connection = connection
        let pipe = try EventPipe<[UInt8]>(loop: loop) { pieces in
            for piece in pieces {
                // The end of the input is the end of the session, said or not.
                connection.write(piece.isEmpty ? Array("QUIT\r\n".utf8) : piece)
            }
        }
        // Not joined: it waits for standard input, and the process ends before it.
        _ = try NamedThread("elemta-stdin") {
            var buffer = [UInt8](repeating: 0, count: 64 * 1024)
            while true {
                let count = Descriptors.read(STDIN_FILENO, into: &buffer)
                pipe.post(Array(buffer.prefix(max(count, 0))))
                if count <= 0 { return }
            }
        }
        loop.run()
        if let failure = passage.failure { throw failure }
    }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        switch event {
        case .connected, .tlsEstablished, .drained, .unsentBelowLimit: break
        case .readable: copyOut(connection)
        case .closedByPeer, .closed: loop.stop()
        case .failed(let error):
            failure = error
            loop.stop()
        }
    }

    private func copyOut(_ connection: Connection) {
        connection.withInput { input in
            while input.count > 0 {
                let octets = input.takeFirstSegment()
                if !Descriptors.writeAll(octets, to: STDOUT_FILENO) { loop.stop() }
            }
        }
    }
}
