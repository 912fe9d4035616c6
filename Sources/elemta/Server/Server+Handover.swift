import ElemtaConfiguration
import ElemtaReactor
import Glibc
import Logging

/// How the server makes room for a new one, and takes its place again when that one fails.
extension Server {
    /// Somebody asks for the sockets over the control socket.
    func offerSockets(over connection: Connection) {
        // The socket's mode says the same; this is for one that was tampered with.
        guard let user = connection.peerUser, user == 0 || user == geteuid() else {
            return Handover.refuse(connection, because: "only root and the server's user may ask")
        }
        guard case .serving = phase else {
            return Handover.refuse(connection, because: "it is stopping")
        }
        guard handover == nil else {
            return Handover.refuse(connection, because: "another server is taking its place")
        }
        do throws(ReactorError) {
            handover = try Handover(
                connection, giving: listeners.map(\.socket) + bound.http, on: loop
            ) {
                [unowned self] phase in handoverChanged(to: phase)
            }
            log.write(.handoverAsked)
        } catch {
            log.write(.handoverFailed, [.error: "\(error)"])
        }
    }

    private func handoverChanged(to next: Handover.Phase) {
        switch next {
        case .taken: makeRoom()
        case .failed(let reason): handoverFailed(reason)
        case .succeeded: loop.stop()
        case .offered, .released: break
        }
    }

    private func makeRoom() {
        guard case .serving = phase else { return }
        let limit = configuration.limits.shutdownTimeout
        log.write(.handingOver, [.sessions: "\(sessions.count)", .timeout: "\(limit * 1000)"])
        // Not released: newcomers wait in the backlog, for the new server or, should it fail, for us.
        for listener in listeners { listener.pause() }
        drain(for: limit)
    }

    private func handoverFailed(_ reason: String) {
        log.write(.handoverFailed, [.error: "\(reason)"])
        switch phase {
        case .draining where !listeners.isEmpty:
            handover = nil
            phase = .serving
            for listener in listeners { listener.resume() }
            reloadIfWanted()
        case .stopped: loop.stop()
        case .starting, .serving, .draining: handover = nil
        }
    }

    private func waitForSuccessor() {
        let begin = ContinuousClock.now
        let tell = { [log] in
            log.write(
                .handoverWaits,
                [
                    .duration: "\(HandoverWord.milliseconds(since: begin))",
                    .note: "for the new server, which opens the queue",
                ])
        }
        tell()
        let reminder = loop.every(HandoverWord.remindAfter, tell)
        loop.run()
        reminder.cancel()
    }

    /// After the server has stopped: waits for what becomes of the new one.
    func concludeHandover() -> Ending {
        guard let handover, case .taken = handover.phase else { return .stopped }
        if !bound.smtp.isEmpty {
            signals = [SIGTERM, SIGINT].map { number in
                loop.onSignal(number) { [unowned self] in
                    releaseSockets()
                    loop.stop()
                }
            }
            // Came while the queue was left.
            if PendingSignals.isStopWanted { releaseSockets() }
        }
        handover.release()
        // One that ends leaves the queue all the same.
        if !PendingSignals.isStopWanted { waitForSuccessor() }
        signals = []
        PendingSignals.dieOfStops()
        switch handover.phase {
        case .failed:
            return bound.smtp.isEmpty || PendingSignals.isStopWanted ? .stopped : .deserted
        case .succeeded:
            log.write(.handedOver)
            return .stopped
        case .offered, .taken, .released: return .stopped
        }
    }
}
