import ElemtaReactor
import ElemtaSMTP

/// What comes before the dialogue: the PROXY protocol, TLS, the greeting.
extension Session {
    func open() {
        switch profile.entrance {
        case .direct: clientIsKnown()
        case .proxied:
            opening = .proxyHeader
            settle(progressed: true)
        }
    }

    private func clientIsKnown() {
        server.opened(self)
        if profile.isImplicitTLS {
            opening = .handshake
            shakeHands(isInputEncrypted: true)
        } else {
            greet()
        }
    }

    // MARK: The PROXY protocol

    func readProxyHeader() {
        guard let connection else { return }
        let result = connection.withInput { input in
            input.makeContiguous(min(input.count, ProxyHeader.maximumLength))
            return input.withFirstSegment { ProxyHeader.parse($0) }
        }
        switch result {
        case .incomplete:
            if isLastInput { finish() }
        case .header(let header):
            connection.withInput { $0.drain(header.length) }
            speak(for: header.origin)
        case .invalid, .tooLong:
            // Nobody knows whether what follows is a client's or the balancer's: not one octet is
            // answered.
            server.refused(client, because: "malformed PROXY header", before: id)
            finish()
        }
    }

    private func speak(for origin: ProxyHeader.Origin) {
        switch origin {
        case .balancer, .unknown: break
        case .client(let source, destination: _):
            let rights = server.rights(of: source.address)
            guard server.move(self, to: source.address, rights) else {
                if !profile.isImplicitTLS { send(.tooManyConnectionsFromAddress) }
                server.refused(
                    source.address, because: "too many connections from this address", before: id)
                finish()
                return
            }
            self.rights = rights
            machine = ServerSession(
                parameters: profile.parameters,
                client: ClientIdentity(
                    address: source.address, port: source.port,
                    mayUseXCLIENT: rights.mayUseXCLIENT),
                bareNewlineExempt: rights.isBareNewlineExempt)
        }
        clientIsKnown()
        // The client's first octets may have come with the header.
        serve()
    }

    // MARK: The greeting

    private func greet() {
        let wait = server.timeouts.greeting
        guard wait > .zero, !rights.mayRelay else {
            sayGreeting()
            return
        }
        opening = .greeting(
            server.loop.after(wait) { [weak self] in self?.sayGreeting() })
        settle(progressed: true)
    }

    private func sayGreeting() {
        opening = .over
        send(machine.greeting())
        settle(progressed: true)
    }

    func awaitGreeting() {
        guard connection?.withInput({ $0.count }) == 0 else {
            opening = .over
            perform(machine.spokeFirst())
            return
        }
        if isLastInput { finish() }
    }

    // MARK: TLS

    /// Begins the handshake after STARTTLS, unless there is nothing to begin it with.
    func startTLS(after reply: Reply) {
        guard let connection, server.certificates != nil else {
            perform(machine.refuseTLS(.unavailable))
            return
        }
        guard connection.withInput({ $0.count }) == 0 else {
            perform(machine.refuseTLS(.octetsWaiting))
            return
        }
        send(reply)
        shakeHands(isInputEncrypted: false)
    }

    private func shakeHands(isInputEncrypted: Bool) {
        guard let connection, let certificates = server.certificates else { return finish() }
        do {
            try connection.startTLS(
                server: certificates.context, isInputEncrypted: isInputEncrypted)
            settle(progressed: true)
        } catch {
            server.tlsFailed(error, of: self)
            connection.close()
            end()
        }
    }

    func tlsEstablished(_ connection: Connection) {
        guard let description = connection.tls else { return }
        let summary = server.summary(of: description)
        machine.tlsEstablished(summary)
        server.tlsEstablished(summary, of: self)
        if case .handshake = opening { greet() }
        settle(progressed: true)
        if server.isDraining { serverIsShuttingDown() }
    }
}
