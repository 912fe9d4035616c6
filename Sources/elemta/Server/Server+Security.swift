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
        log.debug(
            "tls_established",
            metadata: [
                "client": "\(session.client)", "session": "\(session.id)",
                "protocol": "\(summary.protocolName)", "cipher": "\(summary.cipher)",
            ])
    }

    func tlsFailed(_ error: ReactorError, of session: Session) {
        log.info(
            "tls_failed",
            metadata: [
                "client": "\(session.client)", "session": "\(session.id)", "error": "\(error)",
            ])
    }

    // MARK: Logins

    /// Nil: the outcome comes later.
    func verify(_ credentials: SASLCredentials, of session: Session) -> AuthenticationOutcome? {
        .unavailable
    }

    /// Says at start where passwords can be read on their way.
    func warnOfOpenSecrets() {
        let auth = configuration.auth
        guard auth.enabled, !auth.requireTLS else { return }
        for listener in configuration.listeners where listener.tls != .implicit {
            if let host = listener.address.host, host.isLoopback { continue }
            log.warning(
                "auth_in_clear",
                metadata: [
                    "listener": "\(listener.address)",
                    "advice": "set auth.require_tls, or passwords may cross the network readable",
                ])
        }
    }
}
