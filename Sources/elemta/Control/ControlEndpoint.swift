import ElemtaQueue
import ElemtaReactor
import ElemtaThreads
import Logging

/// The running server's end of the control socket: takes requests on the reactor thread, has them
/// answered on threads of their own, and sends the answers as they come.
final class ControlEndpoint {
    /// What answering threads tell the reactor thread.
    private enum Answer: Sendable {
        case frame(ControlFrame, to: ConnectionID)
        case ended(thread: Int)
    }

    /// Whoever may open the socket has the server's rights or more: this is for scripts gone wild.
    private static let clientLimit = 64

    private let loop: EventLoop
    private let log: Logger
    private let clients = ConnectionTable<ControlSession>()
    private let queue: any QueueView
    private var operations: QueueOperations
    private let handover: (Connection) -> Void
    private let status: () -> ServerStatus
    private var threads = AnswerThreads()
    private var listener: Listener?
    private var pipe: EventPipe<Answer>?
    private var sweep: LoopTimer?

    /// Listens on `path` (mode 0600). Throws what keeps the server from starting.
    ///
    /// - Parameter handover: gets the connection of whoever wants to take the server's place.
    init(
        loop: EventLoop, path: String, queue: any QueueView, rules: DeliveryRules?, log: Logger,
        status: @escaping () -> ServerStatus, handover: @escaping (Connection) -> Void
    ) throws {
        self.status = status
        self.loop = loop
        self.handover = handover
        self.log = log
        self.queue = queue
        operations = QueueOperations(queue: queue, rules: rules)
        pipe = try EventPipe<Answer>(loop: loop) { [unowned self] answers in
            for answer in answers {
                switch answer {
                case .frame(let frame, let client): clients[client]?.send(frame)
                case .ended(let thread): threads.ended(thread)
                }
            }
        }
        listener = try Listener(loop: loop, address: SocketAddress(unixPath: path)) {
            [unowned self] socket in admit(socket)
        }
        sweep = clients.sweepEverySecond(on: loop) { _, client in client.close() }
    }

    /// Requests from now on are told of these rules.
    func change(_ rules: DeliveryRules?) {
        operations = QueueOperations(queue: queue, rules: rules)
    }

    /// Runs `job`, which may wait for the disk, on a thread of its own. False when there are too many
    /// already, and it isn't.
    @discardableResult
    func run(_ job: @escaping @Sendable () -> Void) -> Bool {
        guard let pipe else { return false }
        return threads.begin(.looking) { thread in
            job()
            pipe.post(.ended(thread: thread))
        }
    }

    /// Drops the clients, which ends what they have asked for, and waits for the threads.
    func stop() {
        listener = nil
        sweep = nil
        clients.forEach { _, client in client.close() }
        threads.join()
        pipe = nil
    }

    private func admit(_ socket: consuming AcceptedSocket) {
        let client = ControlSession(
            asked: { [unowned self] client, words in take(words, of: client) },
            ended: { [unowned self] client in clients.remove(client.id) })
        let isOneTooMany = clients.count >= Self.clientLimit
        client.id = clients.insert(client)
        clients.setDeadline(.now + ControlSession.requestLimit, for: client.id)
        do {
            client.connection = try Connection(loop: loop, accepted: socket, delegate: client)
        } catch {
            clients.remove(client.id)
        }
        if isOneTooMany { client.refuse(Self.isBusy, .temporaryFailure) }
    }

    private static let isBusy = "the server answers as many requests as it can; try again later"

    private func take(_ words: [String], of client: ControlSession) {
        guard let pipe else { return }
        if words == HandoverWord.request {
            if let connection = client.release() { handover(connection) }
            return
        }
        clients.setDeadline(nil, for: client.id)
        let id = client.id
        let send: @Sendable (ControlFrame) -> Void = { pipe.post(.frame($0, to: id)) }
        if let inquiry = ServerInquiry(words: words) { return answer(inquiry, of: client, send) }
        guard let request = QueueRequest(words: words) else {
            return client.refuse("the server doesn't know this request", .unavailable)
        }
        log.write(.queueCommand, [.action: "\(request.action.word)"])
        let kind: AnswerThreads.Kind = request.action.isChange ? .changing : .looking
        let hasBegun = threads.begin(kind) { [operations, credit = client.credit] thread in
            let output = ControlOutput(credit: credit, send: send)
            let status = operations.perform(request, to: output)
            output.flush()
            send(.exit(status.rawValue))
            pipe.post(.ended(thread: thread))
        }
        if !hasBegun { client.refuse(Self.isBusy, .temporaryFailure) }
    }

    private func answer(
        _ inquiry: ServerInquiry, of client: ControlSession,
        _ send: @escaping @Sendable (ControlFrame) -> Void
    ) {
        let status = status()
        switch inquiry {
        case .status(let isJSON):
            // Counting descriptors may take a while.
            let hasBegun = run {
                send(.output(status.octets(isJSON: isJSON)))
                send(.exit(ExitStatus.success.rawValue))
            }
            if !hasBegun { client.refuse(Self.isBusy, .temporaryFailure) }
        case .health(let isReadiness):
            if isReadiness, let obstacle = status.obstacle {
                return client.refuse("the server accepts no mail: \(obstacle)", .failure)
            }
            send(.output(Array("ok\n".utf8)))
            send(.exit(ExitStatus.success.rawValue))
        }
    }
}
