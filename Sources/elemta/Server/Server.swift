import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc
import Logging

/// The server: wires the rooms together and holds what all sessions share. Reactor thread only.
final class Server {
    /// What other threads tell the reactor thread.
    enum Notice: Sendable {
        /// A batch was committed, or failed: one notice for all its messages.
        case acknowledged([Acknowledgement])
        /// A content file has taken, or lost, what it was given.
        case spilled(ConnectionID, MessageID, SpillResult)
        /// What became of a session's credentials.
        case verified(ConnectionID, Logins.Result)
        /// What was found out about the recipient that a session has asked for.
        case answered(ConnectionID, RecipientAnswer)
        /// What SIGHUP has found.
        case reread(NewSettings.Result)
    }

    /// What it accepts from.
    typealias Sockets = (smtp: [BoundListener], http: [ListeningSocket])

    /// How far the server is from serving to gone.
    enum Phase {
        case starting
        case serving
        /// SIGTERM came: nobody new, running transactions may finish until the timer fires.
        case draining(LoopTimer)
        case stopped
    }

    /// How a run ends.
    enum Ending {
        case stopped
        /// Another server was to take its place and failed: clients wait in the sockets.
        case deserted
    }

    /// How often the certificates, the users file and address files are looked at.
    private static let lookForChanges = Duration.seconds(5)

    /// What sessions that begin now go by. It and what is made from it change at SIGHUP.
    var configuration: Configuration
    let log: Logger
    let loop: EventLoop
    var relays: HostNetworks.Relays
    var policy: RelayPolicy
    let messages: any AcceptedMessages
    var timeouts: SessionTimeouts
    /// Descriptors that the process may have, after the limit was raised.
    let descriptorLimit: Int
    /// Who gets mail for `<Postmaster>`.
    var postmaster: Mailbox?
    let sessions = ConnectionTable<Session>()
    /// Held here: connections refer to it weakly.
    private(set) lazy var sessionEvents = SessionEvents(sessions)
    var counters = SessionCounters()
    let deliveryCounters = DeliveryCounters()
    let descriptorCount = DescriptorCount()
    let begin = SpoolOptions.systemClock()
    var budget: MemoryBudget
    var limits: ConnectionLimits
    var rates: MessageRates?
    /// Nil without `tls.enabled`.
    var certificates: Certificates?
    /// Nil while `auth.enabled` has never been.
    var logins: Logins?
    /// Nil while there have never been `recipients`.
    var recipients: RecipientLookups?
    var summaries: [String: TLSSummary] = [:]
    var phase = Phase.starting
    var listeners: [Listener] = []
    var control: ControlEndpoint?
    /// While another server takes the place of this one.
    var handover: Handover?
    /// Nil without `http.listen_addr`.
    var monitoring: HTTPEndpoint?
    /// What `/metrics` wants to see; nil: nothing.
    var token: AccessToken?
    /// Released last: while it lives other threads find the loop.
    var pipe: EventPipe<Notice>?
    private var timers: [LoopTimer] = []
    var signals: [SignalWatch] = []
    let logWriter: LogWriter
    let reader: NewSettings.Reader
    var reloading = Reloading.none
    let manager = ServiceManager()
    /// What the listeners accept from, and who looks after the server. Nobody else keeps these sockets:
    /// they are to refuse once the server drops them.
    var bound: Sockets
    /// The server whose place this one takes.
    private let takeover: Takeover?

    /// Opens the queue and starts the pools. Throws what keeps the server from starting:
    /// `SpoolError`, `ReactorError`, `ThreadError`.
    ///
    /// - Parameters:
    ///   - takeover: whose place is taken, once everything that can be wrong with the
    ///     configuration has been looked at.
    ///   - reader: how SIGHUP reads the configuration again.
    init(
        _ configuration: Configuration, bound: Sockets, takingOver takeover: Takeover? = nil,
        reader: @escaping NewSettings.Reader, log: Logger, logWriter: LogWriter
    ) throws {
        self.bound = bound
        self.takeover = takeover
        self.configuration = configuration
        self.log = log
        self.logWriter = logWriter
        self.reader = reader
        loop = try EventLoop()
        descriptorLimit = DescriptorLimit.raise().soft
        limits = ConnectionLimits(configuration, isMonitored: !bound.http.isEmpty)
        token = try AccessToken(configuration.http.token)
        budget = MemoryBudget(limit: configuration.limits.memory)
        relays = HostNetworks.Relays(configuration)
        policy = RelayPolicy(localDomains: configuration.localDomains, relays: relays)
        rates = configuration.limits.ratePerIP.map(MessageRates.init)
        certificates =
            configuration.tls.enabled ? try Certificates(configuration.tls, log: log) : nil
        logins = configuration.auth.enabled ? try Logins(configuration.auth, log: log) : nil
        recipients =
            configuration.recipients.isEmpty
            ? nil
            : RecipientLookups(
                try RecipientRules(configuration, policy: policy, log: log), log: log)
        timeouts = SessionTimeouts(configuration.limits)
        postmaster = configuration.reachablePostmaster
        if !configuration.devMode { _ = try DeliverySettings(configuration) }
        try takeover?.take(log: log)
        messages =
            try configuration.devMode
            ? CapturedMessages(configuration, log: log)
            : QueuedMessages(configuration, counters: deliveryCounters, log: log)
    }

    /// Serves until a signal ends it, and cleans up. Throws when a thread can't be started; nobody was
    /// answered then.
    func run() throws -> Ending {
        watchSignals()
        // SIGTERM came while the queue was opened. Whoever makes room for this server goes on.
        guard !PendingSignals.isStopWanted else {
            manager.stopping()
            releaseSockets()
            cleanUp()
            return .stopped
        }
        let pipe = try EventPipe<Notice>(loop: loop) { [unowned self] notices in
            for notice in notices { take(notice) }
        }
        self.pipe = pipe
        try logins?.start { session, result in pipe.post(.verified(session, result)) }
        listeners = listen(on: bound.smtp)
        monitoring = try monitor(at: bound.http)
        try recipients?.start(
            delivery: configuration.devMode ? nil : try DeliverySettings(configuration)
        ) { session, answer in pipe.post(.answered(session, answer)) }
        control = try ControlEndpoint(
            loop: loop, path: "\(configuration.queueDir)/control.sock", queue: messages.queue,
            rules: messages.rules, log: log, status: { [unowned self] in status }
        ) { [unowned self] connection in offerSockets(over: connection) }
        try messages.start { batch in pipe.post(.acknowledged(batch)) }
        timers.append(
            sessions.sweepEverySecond(on: loop) { _, session in session.deadlinePassed() })
        timers.append(
            loop.every(.seconds(1)) { [unowned self] in
                guard budget.isShort else { return }
                sessions.forEach { _, session in session.yieldMemory() }
            })
        timers.append(
            loop.every(Self.lookForChanges) { [unowned self] in
                certificates?.reloadIfChanged()
                logins?.reloadIfChanged()
                recipients?.reloadIfChanged()
            })
        timers.append(watchLoopLag())
        warnOfOpenSecrets()
        phase = .serving
        warnOfFewDescriptors()
        if ReadyLine.isForPeople, configuration.logging.format == .text {
            logWriter.show(ReadyLine.words(of: self))
        }
        log.write(.ready, ReadyLine.metadata(of: self))
        manager.ready(
            "listening on \(ReadyLine.addresses(of: self))", isSuccessor: takeover != nil)
        takeover?.finish()
        reloadIfWanted()
        if let period = manager.signOfLife {
            timers.append(loop.every(period) { [manager] in manager.alive() })
        }
        // Again when the server that was to take its place has failed in the last moment.
        repeat { loop.run() } while isServing
        cleanUp()
        return concludeHandover()
    }

    private func take(_ notice: Notice) {
        switch notice {
        case .acknowledged(let batch):
            for acknowledgement in batch { acknowledged(acknowledgement) }
        case .spilled(let session, let message, let result):
            sessions[session]?.contentWasSpilled(message, result)
        case .verified(let session, let result):
            verified(result, for: session)
        case .answered(let session, let answer):
            answered(answer, for: session)
        case .reread(let result): reread(result)
        }
    }

    private func watchSignals() {
        PendingSignals.keepStops()
        signals = [
            loop.onSignal(SIGTERM) { [unowned self] in stopWanted() },
            loop.onSignal(SIGINT) { [unowned self] in stopWanted() },
            loop.onSignal(SIGHUP) { [unowned self] in reload() },
        ]
    }

    private var isServing: Bool {
        switch phase {
        case .serving: true
        case .starting, .draining, .stopped: false
        }
    }

    private func stopWanted() {
        manager.stopping()
        shutDown()
    }

    /// After the loop.
    private func cleanUp() {
        phase = .stopped
        endReloading()
        timers = []
        signals = []
        // Who was told to stop and still leaves the queue stops at once at a second signal.
        if bound.smtp.isEmpty { PendingSignals.dieOfStops() }
        control?.stop()
        control = nil
        monitoring = nil
        // Those whose time was over; what they had sent was never answered 250.
        sessions.forEach { _, session in session.end() }
        messages.stop()
        logins?.stop()
        recipients?.stop()
        log.write(.stopped)
    }
}
