import ElemtaConfiguration
import ElemtaReactor
import Glibc
import Logging

/// How the server ends: SIGTERM drains, a second one stops at once.
extension Server {
    func shutDown() {
        switch phase {
        case .serving:
            let limit = configuration.limits.shutdownTimeout
            log.notice(
                "shutting_down",
                metadata: ["sessions": "\(sessions.count)", "timeout": "\(limit)"])
            phase = .draining(
                loop.after(.seconds(limit)) { [unowned self] in
                    log.warning("shutdown_timeout", metadata: ["sessions": "\(sessions.count)"])
                    loop.stop()
                })
            // Released listeners refuse: a client goes to another MX at once instead of waiting.
            listeners = []
            sessions.forEach { _, session in session.serverIsShuttingDown() }
            stopIfDrained()
        case .draining:
            loop.stop()
        case .starting, .stopped:
            break
        }
    }

    /// True from the first SIGTERM on.
    var isDraining: Bool {
        switch phase {
        case .draining, .stopped: true
        case .starting, .serving: false
        }
    }

    func stopIfDrained() {
        guard case .draining = phase, sessions.count == 0 else { return }
        // The last replies may still be on their way; how long that may take the loop bounds.
        phase = .draining(
            loop.every(.milliseconds(10)) { [unowned self] in
                if loop.closingCount == 0 { loop.stop() }
            })
    }
}
