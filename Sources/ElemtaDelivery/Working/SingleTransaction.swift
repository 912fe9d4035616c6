public import ElemtaReactor
public import ElemtaSMTP

/// One transaction over a connection of its own, outside the queue: a question about a recipient, or a
/// message that somebody waits for.
///
/// Belongs to the thread of its loop. Whoever starts it keeps it until `completion` was called; the
/// goodbye after that needs nobody.
public final class SingleTransaction: ConnectionDelegate {
    /// Whom to speak to, and how.
    public struct Peer: Sendable {
        public let address: SocketAddress
        public let heloName: [UInt8]
        public let mailProtocol: ClientProtocol
        let tls: (policy: ClientTLSPolicy, context: TLSClientContext, name: String)?

        /// Without TLS: for servers on this machine.
        public init(
            _ address: SocketAddress, heloName: [UInt8],
            speaking mailProtocol: ClientProtocol = .smtp
        ) {
            self.address = address
            self.heloName = heloName
            self.mailProtocol = mailProtocol
            tls = nil
        }

        /// `certificateName`: what the server's certificate is to bear.
        init(
            _ address: SocketAddress, heloName: [UInt8], speaking mailProtocol: ClientProtocol,
            tls policy: ClientTLSPolicy, _ contexts: TLSContexts, certificateName: String
        ) {
            self.address = address
            self.heloName = heloName
            self.mailProtocol = mailProtocol
            tls =
                policy == .off ? nil : (policy, contexts.context(for: policy), certificateName)
        }
    }

    public enum Outcome: Sendable {
        /// One verdict for each recipient.
        case ended(TransactionResult)
        /// The server has been reached, and wasn't of use.
        case failed(ClientFailure)
        case unreachable(ReactorError)
    }

    private enum Phase {
        case opening
        case working
        case over
    }

    private let peer: Peer
    private let transaction: ClientTransaction
    private let content: [UInt8]
    private let completion: (Outcome) -> Void
    /// Called when the server has heard the goodbye, or the connection is gone.
    public var closed: () -> Void = {}
    private var phase = Phase.opening
    private var session: ClientSession
    private var connection: Connection?
    private var deadline: LoopTimer?

    /// `content` may be anything when the transaction ends before it. `completion` is called once, on
    /// the loop's thread, by `limit` after `start(on:within:)`; not inside it.
    public init(
        with peer: Peer, _ transaction: ClientTransaction, content: [UInt8] = [],
        completion: @escaping (Outcome) -> Void
    ) {
        self.peer = peer
        self.transaction = transaction
        self.content = content
        self.completion = completion
        session = ClientSession(
            heloName: peer.heloName, speaking: peer.mailProtocol, tls: peer.tls?.policy ?? .off)
    }

    /// Connects. Throws what keeps it from even trying.
    public func start(on loop: EventLoop, within limit: Duration) throws(ReactorError) {
        connection = try Connection.connect(
            loop: loop, to: peer.address, timeout: limit, delegate: self)
        deadline = loop.after(limit) { [weak self] in self?.expired() }
    }

    /// Gives up: `completion` isn't called any more.
    public func cancel() {
        phase = .over
        deadline = nil
        connection?.close()
    }

    private func expired() {
        perform(session.interrupt(.timedOut))
    }

    // MARK: Events

    public func connection(_ connection: Connection, happened event: ConnectionEvent) {
        switch event {
        case .connected, .unsentBelowLimit: break
        case .tlsEstablished: established(connection)
        case .readable: read()
        case .drained: session.contentSent()
        case .closedByPeer:
            perform(session.interrupt(.connectionLost))
            // What followed the result was only the goodbye.
            connection.close()
            closed()
        case .failed(let error):
            lost(error)
            closed()
        case .closed: closed()
        }
    }

    private func lost(_ error: ReactorError) {
        if case .opening = phase, session.stage == .greeting, session.replyCount == 0 {
            return finish(.unreachable(error))
        }
        if session.stage == .handshake {
            return perform(session.handshakeEnded(.failed(error.reason ?? "\(error)")))
        }
        perform(session.interrupt(.connectionLost))
    }

    private func read() {
        while let connection, !connection.isClosed {
            // A reply that comes before all is sent can't be about all of it.
            if connection.unsentCount == 0 { session.contentSent() }
            let step = connection.withInput { input -> (left: Int, action: ClientAction)? in
                guard input.count > 0 else { return nil }
                let (consumed, action) = input.withFirstSegment { session.next(in: $0) }
                input.drain(consumed)
                return (input.count, action)
            }
            guard let step else { return }
            perform(step.action)
            if step.left == 0 { return }
        }
    }

    // MARK: Actions

    private func perform(_ action: ClientAction) {
        switch action {
        case .none: break
        case .send(let octets): connection?.write(octets)
        case .startTLS: startTLS()
        case .sendContent(let transfer): send(transfer)
        case .ready:
            guard case .opening = phase else { return }
            phase = .working
            perform(session.begin(transaction))
        case .ended(let result): finish(.ended(result))
        case .close(let failure):
            finish(.failed(failure ?? .connectionLost(session.stage)))
        }
    }

    private func send(_ transfer: ContentTransfer) {
        guard let connection else { return }
        switch transfer {
        case .chunk(let command):
            connection.write(command)
            connection.write(content)
        case .data:
            var encoder = DataEncoder()
            let content = content
            encoder.encode(content.span) { range, dotFollows in
                connection.write(content.span.extracting(range))
                if dotFollows { connection.write([UInt8(ascii: ".")]) }
            }
            connection.write(encoder.terminator)
        }
    }

    private func finish(_ outcome: Outcome) {
        if case .over = phase { return }
        phase = .over
        deadline = nil
        // RFC 5321 4.1.1.10: QUIT whatever came of it. It's lost when the server has gone.
        if let connection, !connection.isClosed {
            connection.write(ClientSession.farewell)
            connection.closeAfterFlush()
        }
        completion(outcome)
    }

    // MARK: TLS

    private func startTLS() {
        guard let connection, let tls = peer.tls else { return }
        do throws(ReactorError) {
            let dropped = try connection.startTLS(client: tls.context, name: tls.name)
            if dropped > 0 { perform(session.handshakeEnded(.octetsWaiting)) }
        } catch {
            perform(session.handshakeEnded(.failed("\(error)")))
        }
    }

    private func established(_ connection: Connection) {
        let isVerified = connection.tls?.isPeerVerified ?? false
        perform(session.handshakeEnded(.established(isVerified ? .verified : .unverified)))
    }
}

extension SingleTransaction.Peer {
    /// A failure with this server in words, for a person.
    public func text(of failure: ClientFailure) -> String {
        let literal = address.host.map { _ in "[\(address)]" } ?? "\(address)"
        return FailureReason(failure, with: DeliveryTarget(host: literal, address: address)).text
    }
}
