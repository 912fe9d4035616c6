import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import Logging

/// How clients come in.
extension Server {
    /// Accepts whoever comes to these sockets.
    func listen(on bound: [BoundListener]) -> [Listener] {
        bound.flatMap { bound in
            let profile = ListenerProfile(
                bound.listener, of: configuration,
                counters: counters.listener(at: "\(bound.listener.address)"))
            return bound.sockets.map { socket in
                Listener(
                    loop: loop, socket: socket, refusal: profile.refusal(.tooManyConnections),
                    refused: { [unowned self] address in
                        failed(address, by: profile, "no descriptor is left")
                    },
                    accepted: { [unowned self] socket in admit(socket, by: profile) })
            }
        }
    }

    private func admit(_ socket: consuming AcceptedSocket, by profile: ListenerProfile) {
        let remoteAddress = socket.remoteAddress
        guard let address = remoteAddress.ipAddress else { return }
        guard case .serving = phase else {
            profile.counters.outcomes.add(to: .shuttingDown)
            socket.refuse(with: profile.refusal(.shuttingDown))
            return
        }
        // Who speaks for others has no rights of its own, and none of the limits of one client.
        let rights: ClientRights
        let isExempt: Bool
        switch profile.entrance {
        case .direct:
            rights = self.rights(of: address).ofConnection
            isExempt = rights.isExempt
        case .proxied(let trusted):
            guard trusted.contains(where: { $0.contains(address) }) else {
                profile.counters.outcomes.add(to: .untrustedProxy)
                refused(address, because: "not in trusted_proxies")
                return
            }
            rights = .none
            isExempt = true
        }
        switch limits.admit(address, isExempt: isExempt) {
        case .admit: break
        case .tooMany:
            profile.counters.outcomes.add(to: .tooMany)
            refused(address, because: "too many connections")
            socket.refuse(with: profile.refusal(.tooManyConnections))
            return
        case .tooManyFromAddress:
            profile.counters.outcomes.add(to: .tooManyFromAddress)
            refused(address, because: "too many connections from this address")
            socket.refuse(with: profile.refusal(.tooManyConnectionsFromAddress))
            return
        }
        let client = ClientIdentity(
            address: address, port: remoteAddress.port, mayUseXCLIENT: rights.mayUseXCLIENT)
        let session = Session(client: client, rights: rights, profile: profile, server: self)
        let id = sessions.insert(session)
        do {
            let connection = try Connection(loop: loop, accepted: socket, delegate: sessionEvents)
            connection.sendsAtOnce = true
            profile.counters.outcomes.add(to: .accepted)
            profile.counters.open += 1
            session.begin(connection, id: id)
        } catch {
            sessions.remove(id)
            limits.release(address)
            failed(remoteAddress, by: profile, "\(error)")
        }
    }

    /// The system had nothing to serve a client with.
    private func failed(_ client: SocketAddress, by profile: ListenerProfile, _ error: String) {
        profile.counters.outcomes.add(to: .failed)
        let address = client.ipAddress.map { "\($0)" } ?? "\(client)"
        log.write(.connectionFailed, [.client: "\(address)", .error: "\(error)"])
    }

    /// Says when the clients that the configuration allows can't all be served.
    func warnOfFewDescriptors() {
        let wanted = ConnectionLimits.descriptors(
            configuration, isMonitored: !bound.http.isEmpty)
        guard descriptorLimit < wanted else { return }
        log.write(
            .descriptorsShort,
            [
                .limit: "\(descriptorLimit)", .wanted: "\(wanted)",
                .maxConnections: "\(limits.maximum)",
                .advice:
                    "raise the hard limit to \(wanted) (ulimit -Hn, LimitNOFILE= of the systemd unit, or docker run --ulimit nofile=) or lower delivery.max_connections (\(configuration.delivery.maxConnections))",
            ])
    }

    func rights(of address: IPAddress) -> ClientRights {
        ClientRights(of: address, configuration, policy)
    }

    /// The session is somebody else's from now on: the limits count it there. False: there are too
    /// many of that address already, and nothing has changed.
    func move(_ session: Session, to address: IPAddress, _ rights: ClientRights) -> Bool {
        limits.move(from: session.client, to: address, isExempt: rights.isExempt)
    }

    /// XCLIENT: the session goes on for `identity`.
    func admit(_ identity: ClientIdentity, login: String?, for session: Session) -> Verdict {
        // Without ADDR it still is the address that speaks for others.
        let isSame = identity.address == session.client
        let rights = isSame ? session.rights : rights(of: identity.address)
        guard move(session, to: identity.address, rights) else {
            return .refuse(.tooManyConnectionsFromAddress)
        }
        session.rights = rights
        return .admit(
            login.map { logins?.user(named: $0) ?? AuthenticatedUser(name: $0) },
            bareNewlineExempt: rights.isBareNewlineExempt)
    }

    /// A session begins, and whom it is for is known.
    func opened(_ session: Session) {
        log.write(
            .connectionOpened,
            [
                .session: .described(session.id), .client: .described(session.client),
                .listener: "\(session.profile.address)",
            ])
    }

    /// A session is over; its connection may still be sending its last reply.
    func ended(_ session: Session) {
        log.write(
            .connectionClosed,
            [
                .session: .described(session.id), .client: .described(session.client),
                .messages: .number(Int(session.acceptedCount)),
                .duration: .number(Int((MonotonicTime.now - session.begin) / .milliseconds(1))),
                .reason: .text(session.ending.rawValue),
            ])
        sessions.remove(session.connectionID)
        session.profile.counters.open -= 1
        limits.release(session.client)
        stopIfDrained()
    }

    /// A slow session had to go, as memory was short.
    func yielded(_ session: Session) {
        log.write(
            .sessionCutOff,
            [
                .client: "\(session.client)", .session: "\(session.id)",
                .reason: "memory is short",
            ])
    }

    /// A client was turned away before its dialogue; `session` is what it would have been.
    func refused(
        _ client: IPAddress, because reason: String, before session: SessionID? = nil
    ) {
        var fields: LogFields = [.client: .described(client), .reason: "\(reason)"]
        if let session { fields[.session] = .described(session) }
        log.write(.connectionRefused, fields)
    }
}

extension ListenerProfile {
    /// What a client is sent that isn't served. In TLS nobody could read it.
    fileprivate func refusal(_ reply: Reply) -> [UInt8] { isImplicitTLS ? [] : reply.octets }
}

extension Configuration.ListenAddress {
    /// One socket, or one per family where no host is given.
    var socketAddresses: [SocketAddress] {
        switch host?.storage {
        case nil: SocketAddress.all(":\(port)")
        case .v4(let address): [SocketAddress(host: .v4(address), port: port)]
        case .v6(let high, let low): [SocketAddress(host: .v6(high: high, low: low), port: port)]
        }
    }
}

extension SocketAddress {
    /// The peer's address as SMTP knows it; nil for a unix-domain socket. v4-mapped addresses are
    /// v4 from here on, so that rules and limits see one client where there is one.
    var ipAddress: IPAddress? {
        switch host {
        case nil: nil
        case .v4(let address): IPAddress(v4: address)
        case .v6(let high, let low): IPAddress(v6High: high, v6Low: low).unmapped
        }
    }
}
