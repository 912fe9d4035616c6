import ElemtaAuthentication
import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Logging

/// What was found out about a recipient.
enum RecipientAnswer: Sendable, Equatable {
    /// Mail for it goes to so many mailboxes.
    case exists(mailboxCount: Int)
    case unknown
    /// Nobody could tell now.
    case unavailable
    /// The alias can't be resolved until somebody mends it.
    case misconfigured
}

/// Who exists, for the sessions: what `RecipientRules` can't say at once is asked elsewhere. Reactor
/// thread only.
///
/// Directories are asked on a pool like that of logins, and of its own: strangers who ask for one
/// recipient after the other keep nobody from logging in.
final class RecipientLookups {
    private enum Phase {
        case idle
        case running(BlockingPool, answered: @Sendable (ConnectionID, RecipientAnswer) -> Void)
    }

    let rules: RecipientRules
    private let log: Logger
    private var phase = Phase.idle

    init(_ rules: RecipientRules, log: Logger) {
        self.rules = rules
        self.log = log
        RecipientsLog.write(complaints: rules.complaints, to: log)
    }

    /// Starts the pool's threads. `answered` runs on one of them, once for each `ask` that returned
    /// nil.
    func start(
        answered: @escaping @Sendable (ConnectionID, RecipientAnswer) -> Void
    ) throws(ThreadError) {
        phase = .running(try BlockingPool("elemta-rcpt"), answered: answered)
    }

    /// Answers what waits, lets what is being asked finish, and ends the threads.
    func stop() {
        guard case .running(let pool, _) = phase else { return }
        phase = .idle
        rules.stop()
        pool.stop()
    }

    /// Whether there is such a recipient. Nil: `answered` gets it later.
    func ask(_ mailbox: Mailbox, for session: ConnectionID) -> RecipientAnswer? {
        switch rules.find(mailbox) {
        case .unrestricted, .exists: return .exists(mailboxCount: 1)
        case .alias(let targets, _): return .exists(mailboxCount: targets.count)
        case .unknown: return .unknown
        case .misconfigured(let reason, let rule):
            log.error(
                "recipient_misconfigured", metadata: ["rule": "\(rule)", "error": "\(reason)"])
            return .misconfigured
        case .directory(let directory, let names, _):
            return ask(directory, for: names, session)
        case .callout:
            return .exists(mailboxCount: 1)
        }
    }

    private func ask(
        _ directory: Directory, for names: [String], _ session: ConnectionID
    ) -> RecipientAnswer? {
        guard case .running(let pool, let answered) = phase else { return .unavailable }
        let isTaken = pool.ask { isTooLate in
            let presence = isTooLate ? .unknown : directory.presence(ofAnyOf: names)
            answered(session, RecipientAnswer(presence))
        }
        return isTaken ? nil : .unavailable
    }

    // MARK: Reloading

    /// SIGHUP: reads files and directories' passwords again. What is wrong with them is logged, and
    /// what was known before stays. Returns at once: a thread of the pool reads.
    func reload() {
        guard case .running(let pool, _) = phase else { return }
        pool.perform { [rules, log] in
            rules.reload()
            RecipientsLog.write(complaints: rules.complaints, to: log)
        }
    }

    /// Reads the files again that have changed.
    func reloadIfChanged() {
        guard case .running(let pool, _) = phase else { return }
        pool.perform { [rules] in rules.reloadIfChanged() }
    }
}

extension RecipientAnswer {
    fileprivate init(_ presence: LDAPPresence) {
        switch presence {
        case .present: self = .exists(mailboxCount: 1)
        case .absent: self = .unknown
        case .unknown: self = .unavailable
        }
    }
}
