import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// The prober's side of its thread.
final class ProberLoop {
    /// What tells recipients apart: to another server case may matter.
    private typealias Key = Mailbox

    /// One recipient that is being asked about.
    private final class Probe {
        let mailbox: Mailbox
        let destination: Destination
        let terms: DeliveryTerms
        /// Of the asker that it was begun for.
        let report: (RecipientProber.Trouble) -> Void
        var askers: [@Sendable (ProbeAnswer) -> Void] = []
        var targets: ArraySlice<DeliveryTarget> = []
        /// What the last target said that was of no use.
        var trouble = "No host could be tried"
        /// A host that took MAIL was silent after RCPT: that is about the recipient.
        var isHeldAtRecipient = false
        var transaction: SingleTransaction?
        let deadline: MonotonicTime
        var timer: LoopTimer?

        init(
            _ mailbox: Mailbox, _ destination: Destination, _ terms: DeliveryTerms,
            report: @escaping (RecipientProber.Trouble) -> Void, deadline: MonotonicTime
        ) {
            self.mailbox = mailbox
            self.destination = destination
            self.terms = terms
            self.report = report
            self.deadline = deadline
        }
    }

    /// Hosts that are tried for one answer.
    private static let maximumTargets = 3

    private unowned let loop: EventLoop
    private var settings: DeliverySettings
    private let contexts: TLSContexts
    private let limits: RecipientProber.Limits
    private var ownHosts: OwnHosts
    private let find: (_ probe: Int, RemoteServer) -> Void
    private var router: Router
    private var answers: RememberedAnswers<Key>
    private var troubles: RememberedAnswers<Destination>
    private var probes: [Int: Probe] = [:]
    private var numbers: [Key: Int] = [:]
    private var counts: [Destination: Int] = [:]
    private var askerCount = 0
    private var nextNumber = 0

    init(
        _ loop: EventLoop, _ settings: DeliverySettings, _ contexts: TLSContexts,
        _ limits: RecipientProber.Limits,
        find: @escaping (_ probe: Int, RemoteServer) -> Void
    ) {
        self.loop = loop
        self.settings = settings
        self.contexts = contexts
        self.limits = limits
        ownHosts = OwnHosts(settings)
        self.find = find
        router = Router(settings)
        answers = RememberedAnswers(limit: limits.answers)
        troubles = RememberedAnswers(limit: limits.answers)
    }

    func receive(_ message: RecipientProber.Message) {
        switch message {
        case .ask(let mailbox, let report, let answer): ask(mailbox, report, answer)
        case .resolved(let number, let resolution): resolved(number, resolution)
        case .change(let settings):
            self.settings = settings
            ownHosts = OwnHosts(settings)
            router = Router(settings)
            answers = RememberedAnswers(limit: limits.answers)
            troubles = RememberedAnswers(limit: limits.answers)
        case .stop:
            for probe in probes.values { probe.transaction?.cancel() }
            probes = [:]
            loop.stop()
        }
    }

    // MARK: Asking

    private func ask(
        _ mailbox: Mailbox, _ report: @escaping @Sendable (RecipientProber.Trouble) -> Void,
        _ answer: @escaping @Sendable (ProbeAnswer) -> Void
    ) {
        if let known = answers.answer(for: mailbox, at: loop.now) { return answer(known) }
        guard askerCount < limits.askers else { return answer(.unavailable("too many ask")) }
        if let number = numbers[mailbox], let probe = probes[number] {
            probe.askers.append(answer)
            askerCount += 1
            return
        }
        let destination = router.destination(for: .mailbox(mailbox), demand: .none)
        if let known = troubles.answer(for: destination, at: loop.now) { return answer(known) }
        guard let terms = DeliveryTerms(name: destination.name), let hop = terms.hop.server else {
            // A route to nobody who could say no.
            return answer(.exists)
        }
        guard probes.count < limits.probes,
            counts[destination, default: 0] < limits.probesPerDestination
        else { return answer(.unavailable("too many probes are under way")) }
        let number = nextNumber
        nextNumber += 1
        let probe = Probe(
            mailbox, destination, terms, report: report, deadline: loop.now + limits.time)
        probe.askers.append(answer)
        probe.timer = loop.after(limits.time) { [unowned self] in expired(number) }
        probes[number] = probe
        numbers[mailbox] = number
        counts[destination, default: 0] += 1
        askerCount += 1
        if hop.server.isSocket {
            begin(number, hop.server.targets(on: [], speaking: hop.mailProtocol))
        } else {
            find(number, hop.server)
        }
    }

    private func resolved(_ number: Int, _ resolution: Resolution) {
        guard let probe = probes[number], let hop = probe.terms.hop.server else { return }
        switch resolution {
        case .failed(let failure):
            giveUp(number, FailureReason(failure, of: hop.server).text)
        case .hosts(let hosts, _):
            begin(number, hop.server.targets(on: hosts, speaking: hop.mailProtocol))
        }
    }

    private func begin(_ number: Int, _ targets: [DeliveryTarget]) {
        probes[number]?.targets = targets.prefix(Self.maximumTargets)
        tryNext(number)
    }

    private func tryNext(_ number: Int) {
        guard let probe = probes[number] else { return }
        // One that hangs leaves time for another.
        let limit = min(probe.deadline - loop.now, limits.time / 2)
        while limit > .zero, let target = probe.targets.popFirst() {
            guard !ownHosts.isListening(target.address) else {
                probe.trouble = "The route leads back to this server"
                continue
            }
            let peer = SingleTransaction.Peer(
                target.address, heloName: Array(settings.heloName.utf8),
                speaking: target.mailProtocol, tls: probe.terms.tls, contexts,
                certificateName: target.certificateName)
            let transaction = SingleTransaction(with: peer, Self.question(about: probe.mailbox)) {
                [unowned self] outcome in
                ended(number, outcome, with: target)
            }
            do throws(ReactorError) {
                try transaction.start(on: loop, within: limit)
                probe.transaction = transaction
                return
            } catch {
                probe.trouble = FailureReason(error, to: target).text
            }
        }
        giveUp(number, probe.trouble)
    }

    private static func question(about mailbox: Mailbox) -> ClientTransaction {
        var question = ClientTransaction(
            reversePath: .null, parameters: MailParameters(),
            recipients: [AcceptedRecipient(path: .mailbox(mailbox))], content: ContentSummary())
        question.endsBeforeContent = true
        return question
    }

    // MARK: Answers

    private func ended(
        _ number: Int, _ outcome: SingleTransaction.Outcome, with target: DeliveryTarget
    ) {
        guard let probe = probes[number] else { return }
        switch outcome {
        case .unreachable(let error):
            probe.trouble = FailureReason(error, to: target).text
            tryNext(number)
        case .failed(let failure):
            probe.trouble = FailureReason(failure, with: target).text
            tryNext(number)
        case .ended(let result):
            settle(number, result.verdicts.first, with: target)
        }
    }

    /// What RCPT is answered is about the recipient, and so is silence; everything else is about the
    /// server.
    private func settle(_ number: Int, _ verdict: RecipientVerdict?, with target: DeliveryTarget) {
        guard let probe = probes[number] else { return }
        switch verdict {
        case .accepted:
            finish(number, .exists, for: limits.presence)
        case .failed(.reply(let reply, .recipient)) where !reply.deniesMailbox:
            // A policy, or a wish such as for a login: others may be told otherwise.
            let reason = FailureReason(.reply(reply, .recipient), with: target).text
            probe.report(
                RecipientProber.Trouble(destination: probe.destination.name, reason: reason))
            finish(number, .unavailable(reason), for: limits.trouble)
        case .failed(.reply(_, .recipient)), .failed(.unsendable):
            finish(number, .unknown, for: limits.absence)
        case .deferred(.reply(let reply, .recipient)) where reply.code != 421:
            let reason = FailureReason(.reply(reply, .recipient), with: target).text
            finish(number, .unavailable(reason), for: limits.trouble)
        case .failed(let failure), .deferred(let failure):
            probe.trouble = FailureReason(failure, with: target).text
            if failure == .timedOut(.recipient) { probe.isHeldAtRecipient = true }
            tryNext(number)
        case nil:
            giveUp(number, probe.trouble)
        }
    }

    private func expired(_ number: Int) {
        guard let probe = probes[number] else { return }
        probe.transaction?.cancel()
        giveUp(number, "The route doesn't answer")
    }

    /// Its destination is left alone for a while, or only the recipient where that is what the
    /// trouble is about.
    private func giveUp(_ number: Int, _ reason: String) {
        guard let probe = probes[number] else { return }
        let answer = ProbeAnswer.unavailable(reason)
        probe.report(RecipientProber.Trouble(destination: probe.destination.name, reason: reason))
        guard !probe.isHeldAtRecipient else {
            return finish(number, answer, for: limits.trouble)
        }
        troubles.remember(answer, for: probe.destination, until: loop.now + limits.trouble)
        finish(number, answer, for: .zero)
    }

    private func finish(_ number: Int, _ answer: ProbeAnswer, for time: Duration) {
        guard let probe = probes.removeValue(forKey: number) else { return }
        numbers[probe.mailbox] = nil
        counts[probe.destination, default: 1] -= 1
        if counts[probe.destination] == 0 { counts[probe.destination] = nil }
        askerCount -= probe.askers.count
        if time > .zero {
            answers.remember(answer, for: probe.mailbox, until: loop.now + time)
        }
        probe.timer = nil
        for asker in probe.askers { asker(answer) }
    }
}

extension RemoteReply {
    /// Whether it says that there is no such mailbox: RFC 3463 3.2, else RFC 5321 4.2.3.
    fileprivate var deniesMailbox: Bool {
        if let enhanced { return enhanced.class == .permanentFailure && enhanced.subject == 1 }
        return code == 550 || code == 551 || code == 553
    }
}

/// Answers that hold for a while, a bounded number of them.
struct RememberedAnswers<Key: Hashable> {
    private let limit: Int
    private var entries: [Key: (answer: ProbeAnswer, until: MonotonicTime)] = [:]

    init(limit: Int) {
        self.limit = max(limit, 1)
    }

    var count: Int { entries.count }

    func answer(for key: Key, at now: MonotonicTime) -> ProbeAnswer? {
        guard let entry = entries[key], now < entry.until else { return nil }
        return entry.answer
    }

    /// Where there is no room any other one is forgotten.
    mutating func remember(_ answer: ProbeAnswer, for key: Key, until end: MonotonicTime) {
        if entries.count >= limit, entries[key] == nil { entries.remove(at: entries.startIndex) }
        entries[key] = (answer, end)
    }
}
