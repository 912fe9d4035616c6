import ElemtaAuthentication
import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Logging

/// Who may log in: the back end of the configuration, the threads that ask it, and what guessing
/// costs. Reactor thread only; the back end is asked on the credentials pool.
///
/// What a user may send from goes with the `AuthenticatedUser`, as the users file has it when the
/// user logs in: the session's machine asks it at MAIL.
final class Logins {
    /// What the back end says of credentials, on its way to the reactor thread.
    struct Result: Sendable {
        fileprivate let verdict: AuthenticationResult
        /// As the client gave it.
        fileprivate let user: String
        fileprivate let client: IPAddress
        fileprivate let isExempt: Bool
        fileprivate let session: ConnectionID
        /// When the credentials came. Answers that are held back count from here, not from the
        /// result: else their time would tell what was done for them, and so who exists.
        let received: MonotonicTime
    }

    /// What became of credentials, for the metrics.
    enum Conclusion: String, CaseIterable, Sendable {
        case accepted, rejected
        /// Nobody could tell.
        case unavailable
        /// `auth.max_failures` was reached: they weren't looked at.
        case limited
    }

    private(set) var conclusions = Tally<Conclusion>()

    private enum Phase {
        case idle
        case running(CredentialsPool, verified: @Sendable (ConnectionID, Result) -> Void)
    }

    private var source: LoginsSource
    /// What the pool asks.
    private let backend: CurrentBackend
    private let log: Logger
    private var limits: GuessingLimits
    private var phase = Phase.idle

    /// Reads the users file, or checks the directory's settings, without asking it yet. Warnings go
    /// to the log. Throws what is wrong with either: file, place and user, never a secret.
    convenience init(_ auth: Configuration.Auth, log: Logger) throws(LoginsError) {
        self.init(auth, try LoginsSource(auth, log: log), log: log)
    }

    init(_ auth: Configuration.Auth, _ source: LoginsSource, log: Logger) {
        self.log = log
        self.source = source
        backend = CurrentBackend(source.backend)
        LoginsLog.write(warnings: source.warnings, to: log)
        limits = GuessingLimits(
            maximumFailures: auth.maxFailures, failureWindow: .seconds(auth.failureWindow))
    }

    /// Starts the pool's threads. `verified` runs on one of them, or inside `verify` when too many
    /// wait already, once for each `verify` that returned nil.
    func start(
        verified: @escaping @Sendable (ConnectionID, Result) -> Void
    ) throws(ThreadError) {
        phase = .running(try CredentialsPool(backend: backend), verified: verified)
    }

    /// Credentials that wait for a thread.
    var backlog: Int {
        guard case .running(let pool, _) = phase else { return 0 }
        return pool.backlog
    }

    /// Answers what waits with `.unavailable`, lets what is being verified finish, and ends the
    /// threads.
    func stop() {
        guard case .running(let pool, _) = phase else { return }
        phase = .idle
        source.stop()
        pool.stop()
    }

    // MARK: Verifying

    /// Has `credentials` verified. The outcome comes at once when this address has failed too often,
    /// else nil: `verified` gets the result, which `concluded(_:)` is to be asked about.
    ///
    /// `isExempt`: what is counted per address isn't counted for this client; nor is it for
    /// loopback. Verifications that run when the limit is reached are still answered: an address may
    /// exceed it by as many sessions as it has.
    func verify(
        _ credentials: SASLCredentials, from address: IPAddress, isExempt: Bool,
        for session: ConnectionID, at now: MonotonicTime = .now
    ) -> AuthenticationOutcome? {
        guard case .running(let pool, let verified) = phase else { return .unavailable }
        let isExempt = isExempt || address.isLoopback
        guard isExempt || admits(credentials.user, address, session, at: now) else {
            return .unavailable
        }
        let user = credentials.user
        pool.verify(Credentials(credentials)) { verdict in
            verified(
                session,
                Result(
                    verdict: verdict, user: user, client: address, isExempt: isExempt,
                    session: session, received: now))
        }
        return nil
    }

    /// Says what credentials get that no back end may see, which count like any others for the
    /// address. For the account they don't: its password can't be guessed with them.
    func refuse(
        _ user: String?, from address: IPAddress, isExempt: Bool, for session: ConnectionID,
        at now: MonotonicTime = .now
    ) -> AuthenticationOutcome {
        if !isExempt, !address.isLoopback {
            guard admits(user, address, session, at: now) else { return .unavailable }
            limits.recordFailure(from: address, at: now.elapsed)
        }
        note(.rejected, .warning, user, address, session)
        return .rejected()
    }

    private func admits(
        _ user: String?, _ address: IPAddress, _ session: ConnectionID, at now: MonotonicTime
    ) -> Bool {
        if limits.admits(address, at: now.elapsed) { return true }
        note(.limited, .warning, user, address, session)
        return false
    }

    /// Counts what became of credentials, and says what the session gets. To be called for every
    /// result, also when the client has gone: else a guesser would hang up on every answer.
    func concluded(_ result: Result, at now: MonotonicTime = .now) -> AuthenticationOutcome {
        func note(_ word: Conclusion, _ level: Logger.Level, isUser: Bool = false) {
            self.note(word, level, result.user, isUser: isUser, result.client, result.session)
        }
        switch result.verdict {
        case .accepted(let user, let senders):
            let delay = limits.recordSuccess(user: user, at: now.elapsed)
            note(.accepted, .info, isUser: true)
            return .accepted(Self.user(user, senders), delay: Int(delay.components.seconds))
        case .rejected:
            let delay = limits.recordFailure(
                from: result.isExempt ? nil : result.client, user: result.user,
                at: now.elapsed)
            note(.rejected, .warning)
            return .rejected(delay: Int(delay.components.seconds))
        case .temporarilyUnavailable:
            note(.unavailable, .warning)
            return .unavailable
        }
    }

    /// XCLIENT LOGIN: the user whom a trusted client has authenticated by its own means. One that
    /// isn't in the users file is restricted by nothing.
    func user(named name: String) -> AuthenticatedUser {
        Self.user(name, source.allowedSenders(of: name))
    }

    private static func user(_ name: String, _ senders: AllowedSenders?) -> AuthenticatedUser {
        guard let senders else { return AuthenticatedUser(name: name) }
        return AuthenticatedUser(name: name) { senders.allows($0) }
    }

    /// Names longer than this are cut in the log, characters.
    private static let loggedNameCount = 128

    /// `isUser`: somebody of that name has just logged in. A name that nobody has isn't written down:
    /// people type their password there.
    private func note(
        _ result: Conclusion, _ level: Logger.Level, _ user: String?, isUser: Bool = false,
        _ client: IPAddress, _ session: ConnectionID
    ) {
        conclusions.add(to: result)
        var metadata: LogFields = [
            .client: "\(client)", .session: "\(SessionID(session))", .result: "\(result.rawValue)",
        ]
        if let user, isUser || source.hasUser(user) {
            metadata[.user] = "\(user.prefix(Self.loggedNameCount))"
        }
        log.write(.authentication, at: level, metadata)
    }

    // MARK: Reloading

    /// Asks another back end from now on; whoever is being verified is by the former one. What was
    /// counted is forgotten where `auth` counts otherwise than `former`.
    func change(
        to source: LoginsSource, _ auth: Configuration.Auth, after former: Configuration.Auth
    ) {
        self.source = source
        backend.change(to: source.backend)
        LoginsLog.write(warnings: source.warnings, to: log)
        guard
            (auth.maxFailures, auth.failureWindow) != (former.maxFailures, former.failureWindow)
        else { return }
        limits = GuessingLimits(
            maximumFailures: auth.maxFailures, failureWindow: .seconds(auth.failureWindow))
    }

    /// Reads the users file again when it has changed. Every verification looks, too: this is for
    /// the operator, who learns of a mistake before anybody logs in.
    func reloadIfChanged() {
        guard case .running(let pool, _) = phase else { return }
        pool.perform { [source] in source.reloadIfChanged() }
    }
}

/// The back end that holds now, for whoever begins to verify.
private final class CurrentBackend: AuthenticationBackend {
    private let current: Locked<any AuthenticationBackend>

    init(_ backend: any AuthenticationBackend) {
        current = Locked(backend)
    }

    func change(to backend: any AuthenticationBackend) {
        current.withLock { $0 = backend }
    }

    func verify(_ credentials: Credentials) -> AuthenticationResult {
        current.withLock { $0 }.verify(credentials)
    }
}
