import ElemtaAuthentication
import ElemtaDelivery
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
/// recipient after the other keep nobody from logging in. Next hops are asked by a `RecipientProber`.
final class RecipientLookups {
    private struct Running {
        let pool: BlockingPool
        /// Nil where no next hop is to be asked.
        var prober: RecipientProber?
        let answered: @Sendable (ConnectionID, RecipientAnswer) -> Void
    }

    private enum Phase {
        case idle
        case running(Running)
    }

    private(set) var rules: RecipientRules
    private let log: Logger
    private var phase = Phase.idle

    init(_ rules: RecipientRules, log: Logger) {
        self.rules = rules
        self.log = log
        RecipientsLog.write(complaints: rules.complaints, to: log)
    }

    /// Starts the threads. `answered` runs on one of them, once for each `ask` that returned nil.
    ///
    /// - Parameters:
    ///   - delivery: how next hops are reached; nil in dev mode, where nobody outside is asked and
    ///     everybody exists whom a next hop would have to know.
    /// - Throws: `ThreadError`, `DeliveryError`.
    func start(
        delivery: DeliverySettings?,
        answered: @escaping @Sendable (ConnectionID, RecipientAnswer) -> Void
    ) throws {
        let pool = try BlockingPool("elemta-rcpt")
        var prober: RecipientProber?
        if let delivery, rules.haveCallouts {
            do {
                prober = try RecipientProber(delivery)
            } catch {
                pool.stop()
                throw error
            }
        }
        phase = .running(Running(pool: pool, prober: prober, answered: answered))
    }

    /// Starts what other rules need, for `change(to:delivery:)`; nobody notices if that doesn't follow.
    func prepare(for rules: RecipientRules, delivery: DeliverySettings?) throws {
        guard case .running(var running) = phase, running.prober == nil, let delivery,
            rules.haveCallouts
        else { return }
        running.prober = try RecipientProber(delivery)
        phase = .running(running)
    }

    /// Goes by other rules, and asks by other routes, from now on; who has been asked already answers.
    func change(to rules: RecipientRules, delivery: DeliverySettings?) {
        if case .running(let running) = phase, let delivery { running.prober?.change(delivery) }
        self.rules = rules
        RecipientsLog.write(complaints: rules.complaints, to: log)
    }

    /// Questions to directories that wait for a thread.
    var backlog: Int {
        if case .running(let running) = phase { running.pool.backlog } else { 0 }
    }

    /// Answers what waits for a directory, lets what is being asked finish, and ends the threads.
    func stop() {
        guard case .running(let running) = phase else { return }
        phase = .idle
        rules.stop()
        running.pool.stop()
        running.prober?.stop()
    }

    /// Whether there is such a recipient. Nil: `answered` gets it later.
    func ask(_ mailbox: Mailbox, for session: ConnectionID) -> RecipientAnswer? {
        switch rules.find(mailbox) {
        case .unrestricted, .exists: return .exists(mailboxCount: 1)
        case .alias(let targets, _): return .exists(mailboxCount: targets.count)
        case .unknown: return .unknown
        // The log has it since the file was read: a stranger's RCPTs must not fill it.
        case .misconfigured: return .misconfigured
        case .directory(let directory, let names, _):
            return ask(directory, for: names, session)
        case .callout:
            return ask(mailbox, session)
        }
    }

    private func ask(
        _ directory: Directory, for names: [String], _ session: ConnectionID
    ) -> RecipientAnswer? {
        guard case .running(let running) = phase else { return .unavailable }
        let isTaken = running.pool.ask { [answered = running.answered] isTooLate in
            let presence = isTooLate ? .unknown : directory.presence(ofAnyOf: names)
            answered(session, RecipientAnswer(presence))
        }
        return isTaken ? nil : .unavailable
    }

    private func ask(_ mailbox: Mailbox, _ session: ConnectionID) -> RecipientAnswer? {
        guard case .running(let running) = phase else { return .unavailable }
        guard let prober = running.prober else { return .exists(mailboxCount: 1) }
        prober.ask(
            mailbox,
            report: { [log] in RecipientsLog.write($0, of: SessionID(session), to: log) },
            answer: { [answered = running.answered] in answered(session, RecipientAnswer($0)) })
        return nil
    }

    // MARK: Reloading

    /// Reads the files again that have changed.
    func reloadIfChanged() {
        guard case .running(let running) = phase else { return }
        running.pool.perform { [rules, log] in
            guard rules.reloadIfChanged() else { return }
            RecipientsLog.write(complaints: rules.complaints, to: log)
        }
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

    fileprivate init(_ answer: ProbeAnswer) {
        switch answer {
        case .exists: self = .exists(mailboxCount: 1)
        case .unknown: self = .unknown
        case .unavailable: self = .unavailable
        }
    }
}
