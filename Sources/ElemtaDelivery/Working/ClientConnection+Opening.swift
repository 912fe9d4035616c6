import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// From the hosts of a destination to one that takes mail.
extension ClientConnection {
    /// Connects to the first of the further targets that answers; when none does the destination can't
    /// be reached now.
    func openNext() {
        worker.setDeadline(nil, of: self)
        let race = HostRace(
            worker: worker, targets: Array(furtherTargets),
            failed: { [unowned self] target, error in
                queue.avoid(target.address, at: worker.now)
                failures.append(FailureReason(error, to: target))
                self.target = target
            },
            overtaken: { [unowned self] in queue.avoid($0.address, at: worker.now) },
            ended: { [unowned self] in raceEnded($0) })
        self.race = race
        furtherTargets = []
        race.start()
    }

    /// Those that are being tried.
    var targetsUnderWay: [DeliveryTarget] { race?.underWay ?? [target] }

    private func raceEnded(_ outcome: HostRace.Outcome) {
        race = nil
        switch outcome {
        case .connected(let connection, let target, let left):
            self.target = target
            furtherTargets = left[...]
            begin(target)
            connection.delegate = self
            connection.unsentLimit = ContentSender.window / 2
            self.connection = connection
            setDeadline()
        case .lost:
            phase = .closed
            worker.couldNotOpen(self, Self.worst(of: failures))
        case .noDescriptors:
            phase = .closed
            worker.hadNoDescriptor(self)
        }
    }

    private func begin(_ target: DeliveryTarget) {
        let cause =
            queue.tls == .opportunistic && mayGoInClear
            ? worker.clearHosts.cause(for: target.address, at: worker.now) : nil
        channel = .clear(cause: cause)
        session = ClientSession(
            heloName: worker.heloName, speaking: queue.mailProtocol,
            tls: cause == nil ? queue.tls : .off, login: queue.login)
    }

    /// A host that refuses for good may stand beside one that is only away: any that may work later
    /// keeps the mail.
    private static func worst(of failures: [FailureReason]) -> FailureReason {
        failures.last { !$0.isPermanent } ?? failures.last
            ?? FailureReason(
                EnhancedStatus(.persistentTransientFailure, 4, 1), "No host could be tried")
    }

    func openingFailed(_ reason: FailureReason) {
        queue.avoid(target.address, at: worker.now)
        failures.append(reason)
        connection?.close()
        connection = nil
        openNext()
    }

    /// The dialogue has ended outside a transaction.
    func refused(_ failure: ClientFailure?) {
        if case .preparing(let job) = phase, let failure, !hasTakenMail {
            // Else it would be tried again at once, without end.
            phase = .ready
            worker.lost(job, failure, over: self)
        }
        guard case .opening = phase, let failure else { return close() }
        let reason = FailureReason(failure, with: target)
        leaveServer(after: failure)
        if case .tls(let what, .opportunistic) = failure, what.allowsClear, mayGoInClear {
            worker.clearHosts.add(target.address, because: reason.text, at: worker.now)
            furtherTargets = [target] + furtherTargets
            return openNext()
        }
        openingFailed(reason)
    }

    private func leaveServer(after failure: ClientFailure) {
        switch failure {
        // Nothing that is said now reaches anybody.
        case .tls(.octetsInClear, _), .tls(.handshake, _), .tls(.interrupted, _):
            connection?.close()
        // RFC 5321 3.1: QUIT also after a refused greeting. It's lost when the server has gone.
        case .tls, .login, .reply, .protocolError, .timedOut, .connectionLost, .abandoned,
            .unsendable:
            connection?.write(ClientSession.farewell)
            connection?.closeAfterFlush()
        }
        connection = nil
    }

    // MARK: TLS

    /// Without TLS the relay host would only be told that we don't log in.
    private var mayGoInClear: Bool { queue.login?.isAllowedInClear ?? true }

    func startTLS() {
        guard let connection else { return }
        do throws(ReactorError) {
            let dropped = try connection.startTLS(
                client: worker.tls.context(for: queue.tls), name: target.certificateName)
            if dropped > 0 { perform(session.handshakeEnded(.octetsWaiting)) }
        } catch {
            perform(session.handshakeEnded(.failed("\(error)")))
        }
    }

    func established() {
        guard let description = connection?.tls else { return }
        channel = .tls(description)
        perform(
            session.handshakeEnded(
                .established(
                    description.isPeerVerified
                        ? queue.identity(ofVerified: target.host) : .unverified)))
        setDeadline()
    }
}
