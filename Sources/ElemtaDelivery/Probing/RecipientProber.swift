import ElemtaReactor
public import ElemtaSMTP

/// What a recipient's next hop says of it.
public enum ProbeAnswer: Sendable, Hashable {
    case exists
    case unknown
    /// Nobody can tell now, for this reason.
    case unavailable(String)
}

/// Asks next hops whether recipients exist: MAIL FROM:<>, RCPT, QUIT, and no message.
///
/// Any thread may ask; one thread of its own does the work. What it may cost is bounded: so many
/// probes at once, in all and for one destination, so long each, so many askers that wait; beyond that
/// the answer is `.unavailable` at once. Answers are remembered, a bounded number of them.
public final class RecipientProber: Sendable {
    /// What is remembered for how long, and how much may be under way.
    public struct Limits: Sendable {
        /// How long somebody who exists does.
        public var presence = Duration.seconds(3_600)
        /// How long nobody is asked again about somebody who doesn't.
        public var absence = Duration.seconds(300)
        /// How long a destination that can't be asked isn't, nor a recipient about whom it says
        /// nothing of use.
        public var trouble = Duration.seconds(10)
        /// Answers that are remembered.
        public var answers = 10_000
        public var probes = 50
        public var probesPerDestination = 10
        /// Askers that wait for an answer.
        public var askers = 1_000
        /// One probe, from looking for the host to its reply. RFC 5321 4.5.3.2.3 gives our own client
        /// five minutes.
        public var time = Duration.seconds(20)

        public init() {}
    }

    enum Message: Sendable {
        case ask(
            Mailbox, report: @Sendable (Trouble) -> Void, answer: @Sendable (ProbeAnswer) -> Void)
        case resolved(probe: Int, Resolution)
        case change(DeliverySettings)
        case stop
    }

    private let thread: LoopThread<Message>
    private let resolver: Resolver

    /// A destination can't be asked for a while, or says nothing of use about one recipient.
    public struct Trouble: Sendable {
        /// As the queue names it.
        public let destination: String
        public let reason: String
    }

    /// Starts the threads. Throws what keeps them from starting.
    public convenience init(
        _ settings: DeliverySettings, limits: Limits = Limits()
    ) throws(DeliveryError) {
        let resolver = try Resolver(
            servers: settings.dnsServers, ownHosts: OwnHosts(settings))
        do throws(DeliveryError) {
            try self.init(settings, limits: limits, resolver: resolver)
        } catch {
            resolver.stop()
            throw error
        }
    }

    private init(
        _ settings: DeliverySettings, limits: Limits, resolver: Resolver
    ) throws(DeliveryError) {
        self.resolver = resolver
        let contexts = try TLSContexts(settings.authorities)
        let answers = AnswerPath<Message>()
        thread = try LoopThread<Message>("elemta-probe") { loop in
            let side = ProberLoop(loop, settings, contexts, limits) { probe, server in
                resolver.find(server) { answers.post(.resolved(probe: probe, $0)) }
            }
            return { messages in
                for message in messages { side.receive(message) }
            }
        }
        answers.lead(to: thread)
    }

    /// Both are called on the prober's thread; never once it has stopped.
    ///
    /// - Parameters:
    ///   - report: hears of trouble that this question finds out: once for each time that a
    ///     destination, or one recipient, is left alone.
    ///   - answer: is called once.
    public func ask(
        _ mailbox: Mailbox, report: @escaping @Sendable (Trouble) -> Void = { _ in },
        answer: @escaping @Sendable (ProbeAnswer) -> Void
    ) {
        thread.post(.ask(mailbox, report: report, answer: answer))
    }

    /// Asks by other routes from now on, and forgets what it has found out by the former ones.
    public func change(_ settings: DeliverySettings) {
        resolver.change(OwnHosts(settings))
        thread.post(.change(settings))
    }

    /// Ends the threads; questions that are open stay unanswered.
    public func stop() {
        thread.post(.stop)
        thread.join()
        resolver.stop()
    }
}
