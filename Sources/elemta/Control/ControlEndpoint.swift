import ElemtaQueue
import ElemtaReactor
import ElemtaThreads
import Logging

/// The running server's end of the control socket: takes requests on the reactor thread, has them
/// answered on a thread of its own, and sends the answers as they come.
final class ControlEndpoint {
    /// What the answering thread tells the reactor thread.
    private struct Answer: Sendable {
        let client: ConnectionID
        let frame: ControlFrame
    }

    private let loop: EventLoop
    private let log: Logger
    private let requests = Inbox<@Sendable () -> Void>()
    private let clients = ConnectionTable<ControlSession>()
    private let operations: QueueOperations
    private let handover: (Connection) -> Void
    private var thread: NamedThread?
    private var listener: Listener?
    private var pipe: EventPipe<Answer>?
    private var sweep: LoopTimer?

    /// Listens on `path` (mode 0600). Throws what keeps the server from starting.
    ///
    /// - Parameter handover: gets the connection of whoever wants to take the server's place.
    init(
        loop: EventLoop, path: String, queue: any QueueView, rules: DeliveryRules?, log: Logger,
        handover: @escaping (Connection) -> Void
    ) throws {
        self.loop = loop
        self.handover = handover
        self.log = log
        operations = QueueOperations(queue: queue, rules: rules)
        pipe = try EventPipe<Answer>(loop: loop) { [unowned self] answers in
            for answer in answers { clients[answer.client]?.send(answer.frame) }
        }
        let requests = requests
        thread = try NamedThread("elemta-control") {
            while let request = requests.takeOne() { request() }
        }
        listener = try Listener(loop: loop, address: SocketAddress(unixPath: path)) {
            [unowned self] socket in admit(socket)
        }
        sweep = clients.sweepEverySecond(on: loop) { _, client in client.close() }
    }

    /// Drops the clients and ends the thread.
    func stop() {
        listener = nil
        sweep = nil
        clients.forEach { _, client in client.close() }
        requests.close()
        thread?.join()
        thread = nil
        pipe = nil
    }

    private func admit(_ socket: consuming AcceptedSocket) {
        let client = ControlSession(
            asked: { [unowned self] client, words in take(words, of: client) },
            ended: { [unowned self] client in clients.remove(client.id) })
        client.id = clients.insert(client)
        clients.setDeadline(.now + ControlSession.requestLimit, for: client.id)
        do {
            client.connection = try Connection(loop: loop, accepted: socket, delegate: client)
        } catch {
            clients.remove(client.id)
        }
    }

    private func take(_ words: [String], of client: ControlSession) {
        guard let pipe else { return }
        if words == HandoverWord.request {
            if let connection = client.release() { handover(connection) }
            return
        }
        clients.setDeadline(nil, for: client.id)
        let id = client.id
        let send: @Sendable (ControlFrame) -> Void = { pipe.post(Answer(client: id, frame: $0)) }
        guard let request = QueueRequest(words: words) else {
            send(.complaint(Array("elemta: the server doesn't know this request\n".utf8)))
            send(.exit(ExitStatus.unavailable.rawValue))
            return
        }
        log.info("queue_command", metadata: ["action": "\(request.action.word)"])
        requests.post { [operations, credit = client.credit] in
            let output = ControlOutput(credit: credit, send: send)
            let status = operations.perform(request, to: output)
            output.flush()
            send(.exit(status.rawValue))
        }
    }
}

/// Standard output and standard error of a request that is answered over the socket.
///
/// Answering thread only. Blocks while the client is more than `window` octets behind, so that a
/// list of a million messages never lies in memory as a whole.
private final class ControlOutput: QueueOutput {
    private static let window = 1024 * 1024
    /// How long a client may take to read that much.
    private static let patience = Duration.seconds(30)

    private let credit: Inbox<Int>
    private let send: @Sendable (ControlFrame) -> Void
    private var gathered: [UInt8] = []
    private var outstanding = 0

    init(credit: Inbox<Int>, send: @escaping @Sendable (ControlFrame) -> Void) {
        self.credit = credit
        self.send = send
    }

    func write(_ octets: [UInt8]) -> Bool {
        gathered.append(contentsOf: octets)
        return gathered.count < ControlFrame.longestPayload || flush()
    }

    func complain(_ text: String) {
        flush()
        send(.complaint(Array("elemta: \(text)\n".utf8.prefix(ControlFrame.longestPayload))))
    }

    func tell(_ progress: String) {
        send(.progress(Array(progress.utf8.prefix(ControlFrame.longestPayload))))
    }

    /// False once the client is gone.
    @discardableResult
    func flush() -> Bool {
        var rest = gathered[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(ControlFrame.longestPayload))
            rest = rest.dropFirst(piece.count)
            guard wait() else { return false }
            outstanding += piece.count
            send(.output(piece))
        }
        gathered.removeAll(keepingCapacity: true)
        return true
    }

    private func wait() -> Bool {
        while outstanding >= Self.window {
            switch credit.take(within: Self.patience) {
            case .elements(let counts): outstanding -= counts.reduce(0, +)
            case .timedOut, .closed: return false
            }
        }
        return true
    }
}
