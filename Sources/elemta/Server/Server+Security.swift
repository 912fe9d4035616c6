import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import Logging

/// TLS and logins, as the sessions need them.
extension Server {
    // MARK: TLS

    /// One object for all sessions with the same protocol and cipher; there are a handful.
    func summary(of description: TLSDescription) -> TLSSummary {
        let key = "\(description.protocolName) \(description.cipherName)"
        if let known = summaries[key] { return known }
        let summary = TLSSummary(
            protocolName: description.protocolName, cipher: description.cipherName)
        summaries[key] = summary
        return summary
    }

    func tlsEstablished(_ summary: TLSSummary, of session: Session) {
        counters.countTLS(summary)
        log.write(
            .tlsEstablished,
            [
                .client: "\(session.client)", .session: "\(session.id)",
                .protocolName: "\(summary.protocolName)", .cipher: "\(summary.cipher)",
            ])
    }

    func tlsFailed(_ error: ReactorError, of session: Session) {
        counters.tlsFailures += 1
        log.write(
            .tlsFailed,
            [
                .client: "\(session.client)", .session: "\(session.id)", .error: "\(error)",
            ])
    }

    // MARK: Logins

    /// Has credentials verified. Nil: `verified(_:for:)` follows.
    func verify(_ credentials: SASLCredentials, of session: Session) -> AuthenticationOutcome? {
        guard let logins else { return .unavailable }
        return logins.verify(
            credentials, from: session.client, isExempt: session.rights.mayRelay,
            for: session.connectionID)
    }

    /// What credentials get that no back end may see.
    func refuseLogin(of user: String?, session: Session) -> AuthenticationOutcome {
        guard let logins else { return .unavailable }
        return logins.refuse(
            user, from: session.client, isExempt: session.rights.mayRelay,
            for: session.connectionID)
    }

    func verified(_ result: Logins.Result, for session: ConnectionID) {
        // Counted also when the client has gone: else a guesser would hang up on every answer.
        guard let outcome = logins?.concluded(result) else { return }
        sessions[session]?.verified(outcome, received: result.received)
    }

    /// Says at start where passwords can be read on their way.
    func warnOfOpenSecrets() {
        let auth = configuration.auth
        guard auth.enabled, !auth.requireTLS else { return }
        for listener in configuration.listeners where listener.tls != .implicit {
            if let host = listener.address.host, host.isLoopback { continue }
            log.write(
                .authInClear,
                [
                    .listener: "\(listener.address)",
                    .advice: "set auth.require_tls, or passwords may cross the network readable",
                ])
        }
    }
}
