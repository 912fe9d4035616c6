/// What the driver does next.
public enum ClientAction: Sendable {
    /// Nothing; more replies are owed.
    case none
    case send([UInt8])
    /// The dialogue has been opened: `begin(_:)` may be called.
    case ready
    /// Begin the handshake, as the client, then call `handshakeEnded(_:)`. Octets that are there
    /// already came in clear.
    case startTLS
    /// Send the content, then call `contentSent()`.
    case sendContent(ContentTransfer)
    /// The transaction is over. When `isReady` the next may begin on this connection, else close it.
    case ended(TransactionResult)
    /// Close the connection; no transaction was under way. Nil: it has served its purpose.
    case close(ClientFailure?)
}

/// The client's side of one SMTP (RFC 5321) or LMTP (RFC 2033) connection, without sockets and
/// without a clock.
///
/// The driver feeds it what arrives (`next(in:)`), performs the action that comes back, and tells it
/// what it can't see: that content is on the wire (`contentSent()`), what became of a handshake
/// (`handshakeEnded(_:)`), that time is up or the connection gone (`interrupt(_:)`). One input, one
/// action.
///
/// A server can't make it hold more than `ReplyParser` allows, can't make it answer what it never
/// asked, and can't make it report a recipient as accepted without a 2xx to that recipient *and* to
/// the end of the data.
public struct ClientSession: ~Copyable {
    enum Phase: ~Copyable {
        case greeting
        /// EHLO, or HELO after it was refused, is under way.
        case hello(isExtended: Bool)
        /// The reply to STARTTLS is owed.
        case startTLS
        case handshake
        case login(LoginExchange)
        case ready(needsReset: Bool)
        case envelope(EnvelopeExchange)
        case content(EnvelopeExchange)
        /// All content is sent, its reply is owed.
        case endOfData(EnvelopeExchange)
        /// RFC 2920 3.1: 354 came though nobody was accepted. The lone dot is sent, its reply means
        /// nothing.
        case loneDot(EnvelopeExchange)
        case quitting
        case closed
    }

    var phase = Phase.greeting
    var parser = ReplyParser()
    let heloName: [UInt8]
    let mailProtocol: ClientProtocol
    let policy: ClientTLSPolicy
    let login: ClientLogin?
    var channel = ClientChannel.clear
    /// What the server offered; nothing before EHLO was answered, and nothing after HELO. Inside TLS
    /// only what was offered there.
    public internal(set) var extensions = ServerExtensions()
    /// The reply to the greeting, for the log; nil again inside TLS.
    public internal(set) var greeting: RemoteReply?

    /// Replies taken so far. A deadline is for one reply, not for one octet of it: whoever keeps it
    /// starts anew when this has changed.
    public private(set) var replyCount = 0

    /// `heloName` is the argument of EHLO or LHLO: a domain or an address literal (RFC 5321 4.1.1.1). With a
    /// `login` nothing is sent to a server that doesn't take it.
    public init(
        heloName: [UInt8], speaking mailProtocol: ClientProtocol = .smtp,
        tls policy: ClientTLSPolicy = .off, login: ClientLogin? = nil
    ) {
        self.heloName = heloName
        self.mailProtocol = mailProtocol
        self.policy = policy
        self.login = login
    }

    /// What is being waited for.
    public var stage: ClientStage {
        switch phase {
        case .greeting: .greeting
        case .hello: .hello
        case .startTLS: .startTLS
        case .handshake: .handshake
        case .login: .login
        case .ready: .idle
        case .envelope(let exchange): exchange.awaited.stage
        case .content: .content
        case .endOfData: .endOfData
        case .loneDot: .endOfData
        case .quitting: .quit
        case .closed: .closed
        }
    }

    /// Whether `begin(_:)` may be called.
    public var isReady: Bool { stage == .idle }

    /// Takes one reply, at most, off the front of what has arrived: drop `consumed` octets, perform
    /// the action, and call again while octets are left.
    public mutating func next(in input: Span<UInt8>) -> (consumed: Int, action: ClientAction) {
        if stage == .closed { return (input.count, .none) }
        // What comes before the handshake's end doesn't come from inside TLS.
        if stage == .handshake { return (input.count, handshakeEnded(.octetsWaiting)) }
        let (consumed, outcome) = parser.next(in: input)
        switch outcome {
        case .incomplete:
            return (consumed, .none)
        case .invalid(let error):
            return (consumed, breakOff(.protocolError(error, stage)))
        case .reply(let reply):
            replyCount += 1
            let action = receive(reply)
            // A server that speaks before it is asked is out of step, or somebody else's words were
            // put into the stream: nothing that follows could be matched to a command.
            if consumed < input.count, !awaitsReply(after: action) {
                return (input.count, breakOff(.protocolError(.unexpected, stage), after: action))
            }
            return (consumed, action)
        }
    }

    /// Whether the content has to be encoded in 7 bits before `begin(_:)` (``ConversionSurvey``), for this
    /// server to take the message.
    public func needsSevenBits(_ transaction: ClientTransaction) -> Bool {
        TransmissionPlan.needsSevenBits(
            transaction, speaking: mailProtocol, extensions: extensions, channel: channel)
    }

    /// Starts a transaction; only when `isReady`. Ends at once, without a word to the server, when
    /// the message can't be sent to a server that offers what this one does.
    public mutating func begin(_ transaction: ClientTransaction) -> ClientAction {
        guard case .ready(let needsReset) = exchange(&phase, with: .closed) else {
            return .close(nil)
        }
        var envelope = EnvelopeExchange(
            transaction, speaking: mailProtocol, extensions: extensions, channel: channel,
            reset: needsReset)
        guard let octets = envelope.nextCommands() else {
            phase = .ready(needsReset: needsReset)
            return .ended(envelope.result())
        }
        phase = .envelope(envelope)
        return .send(octets)
    }

    /// The driver has sent all content (for DATA with the terminator): only now can a reply be an
    /// answer to it.
    public mutating func contentSent() {
        switch exchange(&phase, with: .closed) {
        case .content(let envelope): phase = .endOfData(envelope)
        case let other: phase = other
        }
    }

    /// The dialogue can't go on, and `cause` says why: the connection is to be closed.
    public mutating func interrupt(_ cause: Interruption) -> ClientAction {
        let stage = stage
        switch cause {
        case .timedOut: return breakOff(.timedOut(stage))
        case .connectionLost: return breakOff(.connectionLost(stage))
        case .abandoned(let reason): return breakOff(.abandoned(reason))
        }
    }

    public enum Interruption: Sendable {
        case timedOut, connectionLost
        /// Such as content that can't be read any more.
        case abandoned(String)
    }

    /// Says goodbye; only when `isReady`.
    public mutating func quit() -> ClientAction {
        guard case .ready = exchange(&phase, with: .closed) else { return .close(nil) }
        phase = .quitting
        return .send(Self.farewell)
    }

    /// What to send, without waiting for the reply, before closing a connection that can't be used:
    /// RFC 5321 3.1 wants QUIT even after a refused greeting.
    public static let farewell = Array("QUIT\r\n".utf8)

    /// Whether more octets are in order after `action`: replies to pipelined commands are.
    private func awaitsReply(after action: ClientAction) -> Bool {
        switch action {
        case .none: stage != .idle && stage != .closed
        case .send, .ready, .startTLS, .sendContent, .ended, .close: stage == .closed
        }
    }

    private mutating func receive(_ reply: RemoteReply) -> ClientAction {
        switch exchange(&phase, with: .closed) {
        case .greeting:
            return receiveGreeting(reply)
        case .hello(let isExtended):
            return receiveHello(reply, isExtended: isExtended)
        case .startTLS:
            return receiveStartTLS(reply)
        case .handshake:
            return .close(.tls(.octetsInClear, policy))
        case .login(let exchange):
            return receiveLogin(reply, exchange)
        case .ready:
            // 421 because we were idle too long, or nonsense.
            return reply.closesConnection
                ? .close(.reply(reply, .idle)) : .close(.protocolError(.unexpected, .idle))
        case .envelope(let envelope):
            return receive(reply, envelope: envelope)
        case .content(var envelope):
            envelope.receiveDuringContent(reply)
            return .ended(envelope.result())
        case .endOfData(let envelope):
            return receiveEndOfData(reply, envelope)
        case .loneDot(let envelope):
            if !reply.closesConnection { phase = .ready(needsReset: true) }
            return .ended(envelope.result())
        case .quitting:
            return .close(nil)
        case .closed:
            return .close(nil)
        }
    }

    private mutating func receive(
        _ reply: RemoteReply, envelope: consuming EnvelopeExchange
    ) -> ClientAction {
        switch envelope.receive(reply) {
        case .wait:
            phase = .envelope(envelope)
            return .none
        case .send(let octets):
            phase = .envelope(envelope)
            return .send(octets)
        case .sendContent(let transfer):
            phase = .content(envelope)
            return .sendContent(transfer)
        case .sendLoneDot:
            phase = .loneDot(envelope)
            return .send(Array(".\r\n".utf8))
        case .end(let canContinue, let needsReset):
            if canContinue { phase = .ready(needsReset: needsReset) }
            return .ended(envelope.result())
        }
    }

    private mutating func receiveEndOfData(
        _ reply: RemoteReply, _ envelope: consuming EnvelopeExchange
    ) -> ClientAction {
        switch envelope.receiveEndOfData(reply) {
        case .wait:
            phase = .endOfData(envelope)
            return .none
        case .end(let canContinue, let needsReset):
            if canContinue { phase = .ready(needsReset: needsReset) }
            return .ended(envelope.result())
        }
    }

    /// Ends everything: what is undecided is deferred because of `failure`.
    private mutating func breakOff(
        _ failure: ClientFailure, after action: ClientAction = .none
    ) -> ClientAction {
        // The result of a transaction that this very reply has ended stands.
        if case .ended = action {
            phase = .closed
            return action
        }
        switch exchange(&phase, with: .closed) {
        case .greeting: return .close(failure)
        case .hello: return .close(channel == .clear ? failure : interruptedTLS(failure))
        case .startTLS: return .close(interruptedTLS(failure))
        case .handshake: return .close(interruptedTLS(failure))
        case .login: return .close(failure)
        case .ready: return .close(failure)
        case .envelope(let envelope): return Self.ended(envelope, failure)
        case .content(let envelope): return Self.ended(envelope, failure)
        case .endOfData(let envelope):
            return Self.ended(envelope, failure, mayBeDuplicated: true)
        case .loneDot(let envelope): return Self.ended(envelope, failure)
        case .quitting: return .close(nil)
        case .closed: return .close(nil)
        }
    }

    private static func ended(
        _ envelope: consuming EnvelopeExchange, _ failure: ClientFailure,
        mayBeDuplicated: Bool = false
    ) -> ClientAction {
        envelope.settle(failure)
        return .ended(envelope.result(mayBeDuplicated: mayBeDuplicated))
    }
}
