import ElemtaThreads
import Glibc

/// What an operator should know about the directory.
public enum LDAPEvent: Sendable, Equatable {
    /// Credentials can't be verified from now on, and why. Said once, until it is available again
    /// or the reason changes.
    case unavailable(LDAPError)
    /// It answers again.
    case available
    /// More than one entry fits this user, who is rejected.
    case ambiguous(user: String)
}

/// Whether a directory knows a name.
public enum LDAPPresence: Sendable, Equatable {
    /// One entry fits it, or several.
    case present
    case absent
    /// Nobody could tell.
    case unknown
}

/// The back end `ldap`: searches for the user's entry and binds as it.
///
/// Connections are kept: a bind changes who a connection is, so some search and others bind.
public final class LDAPDirectory: AuthenticationBackend {
    private let settings: LDAPSettings
    private let report: @Sendable (LDAPEvent) -> Void
    private let watchdog: Watchdog
    private let state = Locked(State())

    private struct State {
        var searchers: [LDAPConnection] = []
        var binders: [LDAPConnection] = []
        /// Why it doesn't answer; nil: it does.
        var trouble: LDAPError?
        /// Somebody finds out whether it answers again.
        var isBeingProbed = false
    }

    /// What a connection is for, and where it is kept.
    private enum Purpose {
        case search, bind

        var idle: WritableKeyPath<State, [LDAPConnection]> {
            switch self {
            case .search: \.searchers
            case .bind: \.binders
            }
        }
    }

    /// Checks the settings; connects when first asked. Makes the process ignore `SIGPIPE`. `report` is called on the thread that
    /// noticed.
    public init(
        _ settings: LDAPSettings, report: @escaping @Sendable (LDAPEvent) -> Void
    ) throws(LDAPSettingsError) {
        let texts = [settings.url, settings.baseDN, settings.bindDN, settings.userFilter]
        guard !texts.contains(where: { $0.utf8.contains(0) }) else { throw .nul }
        guard areLDAPURLs(settings.url) else { throw .url(settings.url) }
        guard pieces(of: settings.userFilter).count > 1 else {
            throw .filterWithoutUser(settings.userFilter)
        }
        guard !settings.startTLS || !settings.url.lowercased().contains("ldaps:") else {
            throw .startTLSOnLDAPS
        }
        guard settings.bindDN.isEmpty || settings.bindPassword?.isPossible == true else {
            throw .bindDNWithoutPassword
        }
        if let file = settings.caFile, unsafe access(file, R_OK) != 0 { throw .caFile(file) }
        let hosts = settings.url.split(separator: " ").count
        do throws(ThreadError) {
            // Connecting to each of them, then the answer: each ends at its timeout by itself, save
            // for what the watchdog is for.
            watchdog = try .start(limit: settings.timeout * (hosts + 1) + .seconds(1))
        } catch {
            throw .thread(error)
        }
        self.settings = settings
        self.report = report
        // Libldap says goodbye on sockets that are cut, or whose directory is gone.
        signal(SIGPIPE, SIG_IGN)
    }

    deinit { watchdog.stop() }

    /// Makes every call that waits for the directory fail, and each one that begins from now on: for
    /// whoever ends the threads that wait. Only connecting still lasts until its timeout. Any thread.
    public func stop() { watchdog.stop() }

    /// Whatever keeps the directory from answering is `.temporarilyUnavailable`, never a refusal.
    public func verify(_ credentials: Credentials) -> AuthenticationResult {
        guard credentials.isPossible else { return .rejected }
        guard mayAsk() else { return .temporarilyUnavailable }
        do throws(LDAPError) {
            let isRight = try bind(credentials)
            note(nil)
            return isRight ? .accepted(user: credentials.user, allowedSenders: nil) : .rejected
        } catch {
            note(error)
            return .temporarilyUnavailable
        }
    }

    /// Whether there is an entry for one of `names`, each in the place of the filter's `{user}`;
    /// whatever keeps the directory from answering is `.unknown`.
    public func presence(ofAnyOf names: [String]) -> LDAPPresence {
        let possible = names.filter(isUserName)
        guard !possible.isEmpty else { return .absent }
        guard mayAsk() else { return .unknown }
        do throws(LDAPError) {
            var isPresent = false
            for name in possible where !isPresent { isPresent = try !entries(for: name).isEmpty }
            note(nil)
            return isPresent ? .present : .absent
        } catch {
            note(error)
            return .unknown
        }
    }

    /// The names of the entries for `user`; two of them stand for any number.
    private func entries(for user: String) throws(LDAPError) -> [String] {
        let filter = userFilter(settings.userFilter, for: user)
        return try with(.search) { (connection) throws(LDAPError) in
            try connection.search(below: settings.baseDN, filter)
        }
    }

    /// While the directory doesn't answer one thread at a time waits for it; the others have their
    /// answer at once, instead of all being held until the timeout. What the directory itself answers
    /// (a positive code) came quickly and may be about one user alone: it holds nobody up.
    private func mayAsk() -> Bool {
        state.withLock { state in
            guard let trouble = state.trouble, trouble.code < 0 else { return true }
            if state.isBeingProbed { return false }
            state.isBeingProbed = true
            return true
        }
    }

    private func bind(_ credentials: Credentials) throws(LDAPError) -> Bool {
        let names = try entries(for: credentials.user)
        guard let name = names.first else { return false }
        guard names.count == 1 else {
            report(.ambiguous(user: credentials.user))
            return false
        }
        return try with(.bind) { (connection) throws(LDAPError) in
            do throws(LDAPError) {
                try connection.bind(as: name, credentials.password)
                return true
            } catch  where error.isRefusal {
                return false
            }
        }
    }

    /// Runs `body` with a kept connection, or a new one when there is none or the directory has
    /// hung up on it. A connection on which something went wrong isn't kept.
    private func with<Result>(
        _ purpose: Purpose, _ body: (LDAPConnection) throws(LDAPError) -> Result
    ) throws(LDAPError) -> Result {
        while let kept = state.withLock({ $0[keyPath: purpose.idle].popLast() }) {
            do throws(LDAPError) {
                return try keeping(kept, purpose, body)
            } catch  where error.isLostConnection {
                // All that were idle as long are gone too; each is found out at once.
                continue
            }
        }
        let fresh = try LDAPConnection(settings)
        if settings.startTLS {
            try watchdog.watching(fresh.socket) { () throws(LDAPError) in try fresh.startTLS() }
        }
        if purpose == .search, let password = settings.bindPassword, !settings.bindDN.isEmpty {
            try watchdog.watching(fresh.socket) { () throws(LDAPError) in
                try fresh.bind(as: settings.bindDN, password)
            }
        }
        return try keeping(fresh, purpose, body)
    }

    private func keeping<Result>(
        _ connection: LDAPConnection, _ purpose: Purpose,
        _ body: (LDAPConnection) throws(LDAPError) -> Result
    ) throws(LDAPError) -> Result {
        let result = try watchdog.watching(connection.socket) { () throws(LDAPError) in
            try body(connection)
        }
        state.withLock { $0[keyPath: purpose.idle].append(connection) }
        return result
    }

    /// Remembers what is wrong, nil for nothing, and tells when that is news.
    private func note(_ trouble: LDAPError?) {
        let isNews = state.withLock { state in
            defer {
                state.trouble = trouble
                state.isBeingProbed = false
            }
            return state.trouble != trouble
        }
        guard isNews else { return }
        report(trouble.map(LDAPEvent.unavailable) ?? .available)
    }
}
