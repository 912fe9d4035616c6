/// From the greeting to the first transaction: EHLO, STARTTLS, EHLO again, AUTH.
extension ClientSession {
    mutating func receiveGreeting(_ reply: RemoteReply) -> ClientAction {
        greeting = reply
        guard reply.code == 220 else {
            return .close(
                reply.code >= 400
                    ? .reply(reply, .greeting)
                    : .protocolError(.outOfSequence(reply.code), .greeting))
        }
        return sayHello(isExtended: true)
    }

    private mutating func sayHello(isExtended: Bool) -> ClientAction {
        phase = .hello(isExtended: isExtended)
        let verb = isExtended ? mailProtocol.hello : "HELO"
        return .send(Array("\(verb) ".utf8) + heloName + Array("\r\n".utf8))
    }

    /// RFC 5321 3.2: a client falls back to HELO when the server doesn't know EHLO; some say so by
    /// another 5xx than 500 and 502.
    mutating func receiveHello(_ reply: RemoteReply, isExtended: Bool) -> ClientAction {
        if reply.isPositive {
            if isExtended { extensions = ServerExtensions(of: reply) }
            // Reports about what is in a mailbox are the client's; nobody else is asked for them.
            if mailProtocol != .smtp { extensions.dsn = false }
            return secure()
        }
        switch mailProtocol {
        case .smtp:
            if isExtended, reply.isPermanent { return sayHello(isExtended: false) }
        case .lmtp:
            // Who doesn't know LHLO speaks something else: no word about the mail.
            if 500...504 ~= reply.code {
                return .close(.protocolError(.outOfSequence(reply.code), .hello))
            }
        }
        return .close(
            reply.code >= 400
                ? .reply(reply, .hello) : .protocolError(.outOfSequence(reply.code), .hello))
    }

    // MARK: TLS

    /// Whatever the policy asks for that isn't there yet; then on to AUTH.
    private mutating func secure() -> ClientAction {
        switch channel {
        case .clear:
            if policy == .off { return logIn() }
            if extensions.startTLS {
                phase = .startTLS
                return .send(Array("STARTTLS\r\n".utf8))
            }
            return policy == .opportunistic ? logIn() : .close(.tls(.notOffered, policy))
        case .tls:
            guard policy != .requireTLS || extensions.requireTLS else {
                return .close(.tls(.requireTLSNotOffered, policy))
            }
            return logIn()
        }
    }

    /// RFC 3207 4.
    mutating func receiveStartTLS(_ reply: RemoteReply) -> ClientAction {
        switch reply.code {
        case 220:
            phase = .handshake
            return .startTLS
        case 400...599:
            return .close(.tls(.refused(reply), policy))
        default:
            return .close(interruptedTLS(.protocolError(.outOfSequence(reply.code), .startTLS)))
        }
    }

    /// The driver's answer to ``ClientAction/startTLS``; once, and before anything else.
    public mutating func handshakeEnded(_ outcome: HandshakeOutcome) -> ClientAction {
        guard case .handshake = exchange(&phase, with: .closed) else { return .close(nil) }
        switch outcome {
        case .octetsWaiting:
            return .close(.tls(.octetsInClear, policy))
        case .failed(let reason):
            return .close(.tls(.handshake(reason), policy))
        case .established(let identity):
            guard isEnough(identity) else { return .close(.tls(.unverified, policy)) }
            channel = .tls(identity)
            // RFC 3207 4.2: what was learned in clear is forgotten.
            greeting = nil
            extensions = ServerExtensions()
            parser = ReplyParser()
            return sayHello(isExtended: true)
        }
    }

    private func isEnough(_ identity: PeerIdentity) -> Bool {
        switch policy {
        case .off, .opportunistic: true
        case .required: identity != .unverified
        case .requireTLS: identity == .authenticated
        }
    }

    /// `failure` between STARTTLS and the reply to the EHLO inside TLS.
    func interruptedTLS(_ failure: ClientFailure) -> ClientFailure {
        if case .protocolError(.unexpected, _) = failure, channel == .clear {
            return .tls(.octetsInClear, policy)
        }
        return .tls(.interrupted(failure), policy)
    }

    // MARK: AUTH

    private mutating func logIn() -> ClientAction {
        guard let login else { return becomeReady() }
        guard channel != .clear || login.isAllowedInClear else { return .close(.login(.needsTLS)) }
        guard let exchange = LoginExchange(login.credentials, offered: extensions.mechanisms ?? [])
        else { return .close(.login(.noMechanism)) }
        phase = .login(exchange)
        return .send(exchange.command)
    }

    mutating func receiveLogin(_ reply: RemoteReply, _ exchange: LoginExchange) -> ClientAction {
        var exchange = exchange
        switch exchange.receive(reply) {
        case .accepted:
            return becomeReady()
        case .send(let octets):
            phase = .login(exchange)
            return .send(octets)
        case .failed(let failure):
            return .close(failure)
        }
    }

    private mutating func becomeReady() -> ClientAction {
        phase = .ready(needsReset: false)
        return .ready
    }
}
