import ElemtaThreads
import Glibc
import Synchronization

@testable import ElemtaDelivery
@testable import ElemtaReactor

/// A server on a port of its own that reacts to each line as a script says.
final class ScriptedServer: Sendable {
    enum Reaction: Sendable {
        case say(String)
        case close
        /// From now on, whatever comes.
        case silence
        /// The text again and again, as fast as it is taken.
        case flood(String)
        /// Says it, then closes.
        case sayAndClose(String)
        /// Says it, then waits for a TLS handshake.
        case startTLS(String, TLSServerContext)
        /// Says it, and the second text to whatever comes, in clear.
        case babble(String, String)
        /// Says it, and does something else when the next octets come, whatever they are.
        indirect case sayThen(String, Reaction)
        /// A line without end, one octet ten times a second.
        case trickle
        /// Closes in a way that a peer takes for an error.
        case reset
    }

    /// What the script is asked about.
    struct Moment: Sendable {
        /// Counted from 0.
        let connection: Int
        /// A command line without its CRLF; empty: the greeting; ".": all content is there.
        let line: String
        /// Inside TLS.
        var isSecure = false

        var verb: String { String(line.prefix(4)).uppercased() }
    }

    typealias Script = @Sendable (Moment) -> Reaction

    struct Record: Sendable {
        /// Command lines of each connection.
        var dialogues: [[String]] = []
        /// Content, as it was before dot-stuffing.
        var messages: [[UInt8]] = []
    }

    let address: SocketAddress
    private let thread: LoopThread<Void>
    private let state: SharedRecord

    final class SharedRecord: Sendable {
        let record = Mutex(Record())
    }

    /// Listens on 127.0.0.1 and a port of the kernel's choice, unless told otherwise.
    init(
        on wanted: SocketAddress = SocketAddress(host: .v4(0x7F00_0001), port: 0),
        _ script: @escaping Script
    ) throws {
        let state = SharedRecord()
        let bound = Inbox<SocketAddress>()
        thread = try LoopThread<Void>("scripted") { loop throws(DeliveryError) in
            let host = ServerHost(loop: loop, script: script, state: state)
            do throws(ReactorError) {
                bound.post(try host.listen(on: wanted))
            } catch {
                throw .reactor(error)
            }
            return { _ in
                host.end()
                loop.stop()
            }
        }
        self.state = state
        address = bound.takeOne() ?? SocketAddress(host: .v4(0), port: 0)
    }

    deinit {
        thread.post(())
        thread.join()
    }

    var record: Record { state.record.withLock { $0 } }

    /// Every command is taken; EHLO is answered with `offer`.
    static func polite(_ offer: [String] = ["PIPELINING", "8BITMIME", "SIZE 10000000"]) -> Script {
        { moment in
            switch moment.verb {
            case "AUTH": .say("235 2.7.0 welcome\r\n")
            case "": .say("220 test.example.com ESMTP\r\n")
            case "EHLO": .say(Self.ehlo(offer))
            case "DATA": .say("354 go\r\n")
            case ".": .say("250 2.0.0 queued\r\n")
            case "QUIT": .sayAndClose("221 bye\r\n")
            default: .say("250 2.1.0 ok\r\n")
            }
        }
    }

    /// Takes STARTTLS and offers `offer` inside TLS only.
    static func secure(_ context: TLSServerContext, _ offer: [String] = ["PIPELINING"]) -> Script {
        let outside = polite(["STARTTLS", "PIPELINING"])
        let inside = polite(offer)
        return { moment in
            if moment.isSecure { return inside(moment) }
            if moment.verb == "STAR" { return .startTLS("220 2.0.0 go\r\n", context) }
            return outside(moment)
        }
    }

    private static func ehlo(_ offer: [String]) -> String {
        let lines = ["test.example.com"] + offer
        return lines.enumerated().map { index, line in
            "250\(index == lines.count - 1 ? " " : "-")\(line)\r\n"
        }.joined()
    }
}

/// The loop's side of a scripted server.
private final class ServerHost {
    unowned let loop: EventLoop
    let script: ScriptedServer.Script
    let state: ScriptedServer.SharedRecord
    private var listener: Listener?
    private var peers: [ServerPeer] = []

    init(
        loop: EventLoop, script: @escaping ScriptedServer.Script,
        state: ScriptedServer.SharedRecord
    ) {
        self.loop = loop
        self.script = script
        self.state = state
    }

    func listen(on address: SocketAddress) throws(ReactorError) -> SocketAddress {
        let listener = try Listener(loop: loop, address: address) { [unowned self] accepted in
            let number = state.record.withLock { record in
                record.dialogues.append([])
                return record.dialogues.count - 1
            }
            let peer = ServerPeer(host: self, number: number)
            peers.append(peer)
            peer.begin(accepted)
        }
        self.listener = listener
        return listener.boundAddress
    }

    func end() {
        listener = nil
        peers = []
    }
}

private final class ServerPeer: ConnectionDelegate {
    private enum Mode {
        case commands
        case data
        case chunk(left: Int)
    }

    private unowned let host: ServerHost
    private let number: Int
    private var connection: Connection?
    private var mode = Mode.commands
    private var input: [UInt8] = []
    private var content: [UInt8] = []
    private var flood: [UInt8]?
    private var babble: [UInt8]?
    private var isMute = false
    private var trickle: LoopTimer?
    /// What is done when octets come.
    private var next: ScriptedServer.Reaction?

    init(host: ServerHost, number: Int) {
        self.host = host
        self.number = number
    }

    func begin(_ accepted: consuming AcceptedSocket) {
        connection = try? Connection(loop: host.loop, accepted: accepted, delegate: self)
        react(to: "")
    }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        switch event {
        case .readable:
            if let next {
                self.next = nil
                isMute = true
                // What it doesn't read holds up the sender, too.
                connection.pauseReading()
                return perform(next)
            }
            connection.withInput { buffer in
                while buffer.count > 0 {
                    let count = buffer.withFirstSegment { span in
                        for index in span.indices { input.append(span[index]) }
                        return span.count
                    }
                    buffer.drain(count)
                }
            }
            if let babble { connection.write(babble) } else { work() }
        case .drained:
            if let flood { connection.write(flood) }
        case .closedByPeer: connection.close()
        case .connected, .tlsEstablished, .unsentBelowLimit, .failed, .closed: break
        }
    }

    private func work() {
        while connection?.isClosed == false {
            switch mode {
            case .commands, .data:
                guard let end = input.firstRange(of: [13, 10]) else { return }
                let line = Array(input[..<end.lowerBound])
                input.removeSubrange(..<end.upperBound)
                if case .data = mode { takeData(line) } else { takeCommand(line) }
            case .chunk(let left):
                guard input.count >= left else { return }
                content = Array(input[..<left])
                input.removeFirst(left)
                complete()
            }
        }
    }

    private func takeData(_ line: [UInt8]) {
        if line == [46] { return complete() }
        content += line.first == 46 ? line.dropFirst() : line[...]
        content += [13, 10]
    }

    private func takeCommand(_ octets: [UInt8]) {
        let line = String(decoding: octets, as: UTF8.self)
        host.state.record.withLock { $0.dialogues[number].append(line) }
        if line.hasPrefix("BDAT "), let count = Int(line.dropFirst(5).prefix { $0 != " " }) {
            mode = .chunk(left: count)
        } else {
            react(to: line)
        }
    }

    private func complete() {
        mode = .commands
        let message = content
        content = []
        host.state.record.withLock { $0.messages.append(message) }
        react(to: ".")
    }

    private func react(to line: String) {
        if isMute { return }
        let isSecure = connection?.tls != nil
        perform(host.script(.init(connection: number, line: line, isSecure: isSecure)), to: line)
    }

    private func perform(_ reaction: ScriptedServer.Reaction, to line: String = "") {
        switch reaction {
        case .silence: isMute = true
        case .close: connection?.close()
        case .say(let text):
            connection?.write(Array(text.utf8))
            if line == "DATA", text.hasPrefix("354") { mode = .data }
        case .sayAndClose(let text):
            connection?.write(Array(text.utf8))
            connection?.closeAfterFlush()
        case .sayThen(let text, let reaction):
            connection?.write(Array(text.utf8))
            next = reaction
        case .reset: reset()
        case .trickle:
            isMute = true
            trickle = host.loop.every(.milliseconds(100)) { [weak self] in
                self?.connection?.write([UInt8(ascii: "2")])
            }
        case .startTLS(let text, let context):
            connection?.write(Array(text.utf8))
            _ = try? connection?.startTLS(server: context)
        case .babble(let text, let noise):
            connection?.write(Array(text.utf8))
            babble = Array(noise.utf8)
        case .flood(let text):
            let copies = max(1, 65_536 / text.utf8.count)
            let piece = Array(String(repeating: text, count: copies).utf8)
            flood = piece
            connection?.write(piece)
        }
    }

    private func reset() {
        guard let descriptor = connection?.stream?.descriptor else { return }
        var none = linger(l_onoff: 1, l_linger: 0)
        // Safe because the option is this structure.
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &none, socklen_t(MemoryLayout<linger>.size))
        connection?.close()
    }
}
