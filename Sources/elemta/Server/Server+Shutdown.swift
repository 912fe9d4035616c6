import ElemtaConfiguration
import ElemtaReactor
import Glibc
import Logging

/// How the server ends: SIGTERM drains, a second one stops at once.
extension Server {
    /// What those get to read their 421 whose time was over.
    private static let farewell = Duration.milliseconds(500)

    func shutDown() {
        switch phase {
        case .serving:
            let limit = configuration.limits.shutdownTimeout
            log.write(.shuttingDown, [.sessions: "\(sessions.count)", .timeout: "\(limit * 1000)"])
            // Released listeners refuse: a client goes to another MX at once instead of waiting.
            releaseSockets()
            drain(for: limit)
        case .draining where !listeners.isEmpty:
            // Room is being made for another server; whether it comes or not, this one goes.
            releaseSockets()
        case .draining:
            loop.stop()
        case .starting, .stopped:
            break
        }
    }

    func releaseSockets() {
        listeners = []
        bound = ([], [])
    }

    /// Running transactions may finish within `limit` seconds; everybody else is told at once.
    func drain(for limit: Int) {
        phase = .draining(loop.after(.seconds(limit)) { [unowned self] in cutOff() })
        sessions.forEach { _, session in session.serverIsShuttingDown() }
        stopIfDrained()
    }

    /// Time is up: whoever is still there is told (RFC 5321 3.8) and cut off.
    private func cutOff() {
        log.write(.shutdownTimeout, [.sessions: "\(sessions.count)"])
        phase = .draining(loop.after(Self.farewell) { [unowned self] in loop.stop() })
        sessions.forEach { _, session in session.cutOff() }
        stopIfDrained()
    }

    /// True from the first SIGTERM on.
    var isDraining: Bool {
        switch phase {
        case .draining, .stopped: true
        case .starting, .serving: false
        }
    }

    /// A session is in the table until its last reply is sent and its connection closed.
    func stopIfDrained() {
        guard case .draining = phase, sessions.count == 0 else { return }
        loop.stop()
    }
}
