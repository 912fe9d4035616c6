public import ElemtaQueue
import ElemtaReactor
public import ElemtaSMTP
import ElemtaThreads

/// Delivers what the spool hands out: the whole of ElemtaDelivery for its callers.
///
/// `destination(for:)` and `deliver(_:)` may be called on any thread; `deliver` never blocks. Every
/// `WorkItem` is answered by one `DeliveryOutcome`; what comes before `start` waits for it, what
/// comes after `stop` is dropped and stays in the spool.
public final class DeliveryService: DeliveryDispatch {
    private let settings: DeliverySettings
    let router: Router
    private let events: @Sendable (DeliveryEvent) -> Void
    private let state = Locked(State.idle([]))

    private enum State: Sendable {
        /// Not started: what has come meanwhile.
        case idle([WorkItem])
        case running(Running)
        case stopped
    }

    private struct Discarded {
        let items: [WorkItem]
        let store: any MessageStore
    }

    private struct Running: Sendable {
        let store: any MessageStore
        let resolver: Resolver?
        let workers: [LoopThread<WorkerMessage>]
        let colleagues: Colleagues
        /// Nil without a route to a maildir.
        var maildirs: MaildirDelivery?
        let preparation: ContentPreparation
    }

    /// `events` is called on the threads of the workers and of the spool: it must not block.
    public init(
        _ settings: DeliverySettings, events: @escaping @Sendable (DeliveryEvent) -> Void
    ) {
        self.settings = settings
        self.events = events
        router = Router(settings)
    }

    public func destination(
        for recipient: ForwardPath, demand: TransportDemand
    ) -> Destination {
        router.destination(for: recipient, demand: demand)
    }

    /// Starts the resolver and the workers; once. Call it before the spool's `start`, or soon after.
    ///
    /// Throws when a thread, an event loop, the resolver or what TLS needs can't be made; then nothing
    /// is running.
    public func start(spool: Spool) throws(DeliveryError) {
        try start(store: SpoolMessageStore(spool))
    }

    func start(store: any MessageStore) throws(DeliveryError) {
        let resolver = try Resolver(
            servers: settings.dnsServers, ownHosts: OwnHosts(settings))
        do throws(DeliveryError) {
            try start(store: store, resolver: resolver) { resolver.find($0, answer: $1) }
        } catch {
            resolver.stop()
            throw error
        }
    }

    typealias Find = @Sendable (RemoteServer, @escaping @Sendable (Resolution) -> Void) -> Void

    func start(store: any MessageStore, resolver: Resolver?, find: @escaping Find)
        throws(DeliveryError)
    {
        let tls = try TLSContexts(settings.authorities)
        let preparation = try ContentPreparation(store)
        let running: Running
        do throws(DeliveryError) {
            let paths = (0..<max(1, settings.maximumWorkers)).map { _ in
                AnswerPath<WorkerMessage>()
            }
            let colleagues = Colleagues(paths)
            let workers = try workers(store, tls, find, preparation, paths, colleagues)
            do throws(DeliveryError) {
                running = Running(
                    store: store, resolver: resolver, workers: workers, colleagues: colleagues,
                    maildirs: try maildirDelivery(store, settings), preparation: preparation)
            } catch {
                Self.end(workers)
                throw error
            }
        } catch {
            preparation.stop()
            throw error
        }
        let early = state.withLock { state -> [WorkItem] in
            guard case .idle(let items) = state else { return [] }
            state = .running(running)
            return items
        }
        deliver(early)
    }

    /// Takes other settings over while mail is delivered: everything but `maximumWorkers`,
    /// `authorities` and `dnsServers`. What is being sent goes on as it began.
    ///
    /// - Returns: who says from now on where mail goes; hands on what it is given to this service.
    /// - Throws: when threads that are needed now can't be started; then nothing has changed.
    public func change(_ settings: DeliverySettings) throws(DeliveryError) -> RoutedDelivery {
        let routed = RoutedDelivery(router: Router(settings), service: self)
        let running = state.withLock { state -> Running? in
            if case .running(let running) = state { running } else { nil }
        }
        guard var running else { return routed }
        if let maildirs = running.maildirs {
            maildirs.change(ownDomain: settings.hostname)
        } else {
            running.maildirs = try maildirDelivery(running.store, settings)
            let started = running
            state.withLock { if case .running = $0 { $0 = .running(started) } }
        }
        running.resolver?.change(OwnHosts(settings))
        let connections = Self.share(of: settings, workers: running.workers.count)
        for worker in running.workers {
            worker.post(.change(settings, maximumConnections: connections))
        }
        return routed
    }

    /// What waits for the threads that make content ready and that write maildirs; any thread.
    public var backlogs: [(pool: String, count: Int)] {
        state.withLock { state in
            guard case .running(let running) = state else { return [] }
            let maildirs = running.maildirs.map { [("maildirs", $0.backlog)] } ?? []
            return [("content", running.preparation.backlog)] + maildirs
        }
    }

    /// Each worker has its share: a connection that one closes can't be waited for by another.
    private static func share(of settings: DeliverySettings, workers: Int) -> Int {
        max(1, settings.maximumConnections / max(1, workers))
    }

    private func maildirDelivery(
        _ store: any MessageStore, _ settings: DeliverySettings
    ) throws(DeliveryError) -> MaildirDelivery? {
        let isWanted = settings.routes.contains {
            if case .hop(.maildir) = $0.target { true } else { false }
        }
        guard isWanted else { return nil }
        return try MaildirDelivery(store: store, ownDomain: settings.hostname, events: events)
    }

    private func workers(
        _ store: any MessageStore, _ tls: TLSContexts, _ find: @escaping Find,
        _ preparation: ContentPreparation, _ paths: [AnswerPath<WorkerMessage>],
        _ colleagues: Colleagues
    ) throws(DeliveryError) -> [LoopThread<WorkerMessage>] {
        var workers: [LoopThread<WorkerMessage>] = []
        for (number, path) in paths.enumerated() {
            do throws(DeliveryError) {
                let thread = try worker(number, store, tls, find, preparation, path, colleagues)
                path.lead(to: thread)
                workers.append(thread)
            } catch {
                Self.end(workers)
                throw error
            }
        }
        return workers
    }

    private static func end(_ workers: [LoopThread<WorkerMessage>]) {
        for worker in workers { worker.post(.stop(grace: .zero)) }
        for worker in workers { worker.join() }
    }

    private func worker(
        _ number: Int, _ store: any MessageStore, _ tls: TLSContexts, _ find: @escaping Find,
        _ preparation: ContentPreparation, _ answers: AnswerPath<WorkerMessage>,
        _ colleagues: Colleagues
    ) throws(DeliveryError) -> LoopThread<WorkerMessage> {
        let settings = settings
        let events = events
        let connections = Self.share(of: settings, workers: settings.maximumWorkers)
        return try LoopThread<WorkerMessage>("elemta-out-\(number)") { loop in
            let worker = DeliveryWorker(
                loop: loop, number: number, colleagues: colleagues, settings: settings,
                maximumConnections: connections, tls: tls, store: store, events: events,
                resolve: { destination, server in
                    find(server) { answers.post(.resolved(destination, $0)) }
                },
                prepare: { id, job, inSevenBits in
                    preparation.post(
                        ContentPreparation.Request(
                            message: job.message, content: job.content, inSevenBits: inSevenBits,
                            answer: { answers.post(.prepared(id, $0)) }))
                })
            return { worker.receive($0) }
        }
    }

    public func deliver(_ work: [WorkItem]) {
        guard !work.isEmpty else { return }
        let discarded = state.withLock { state -> Discarded? in
            switch state {
            case .idle(let waiting):
                state = .idle(waiting + work)
                return nil
            case .running(let running):
                let items = Self.distribute(work, to: running)
                return items.isEmpty ? nil : Discarded(items: items, store: running.store)
            case .stopped:
                // Answered as not attempted it would be handed out again at once, without end. The
                // spool stops next, and its schedule comes back from disk.
                return nil
            }
        }
        guard let discarded else { return }
        discarded.store.record(
            discarded.items.map { DeliveryOutcome($0, .all(.delivered(Self.discardStatus))) })
        tellOfDiscarded(discarded.items)
    }

    /// Under the lock, so that no worker gets work after it was told to stop. A destination belongs
    /// to one worker: its connections, window and addresses need no lock. For a domain with mail
    /// exchangers it may be another one, once they are known: `DeliveryWorker.handOver`.
    ///
    /// - Returns: what no worker is needed for: it is discarded.
    private static func distribute(
        _ work: [WorkItem], to running: Running
    ) -> [WorkItem] {
        let workers = running.workers
        var discarded: [WorkItem] = []
        var local: [WorkItem] = []
        var shares: [[WorkItem]] = Array(repeating: [], count: workers.count)
        for item in work {
            if item.destination.name == discardName {
                discarded.append(item)
            } else if item.destination.name.hasPrefix("maildir:") {
                local.append(item)
            } else {
                let hash = UInt(bitPattern: item.destination.name.hashValue)
                shares[Int(hash % UInt(workers.count))].append(item)
            }
        }
        for (worker, share) in zip(workers, shares) where !share.isEmpty {
            worker.post(.work(share))
        }
        running.maildirs?.deliver(local)
        return discarded
    }

    private static let discardName = DeliveryTerms(hop: .discard).name
    private static let discardStatus = DeliveryStatus(
        code: 250, enhancedStatus: EnhancedStatus(.success, 0, 0), text: Array("discarded".utf8))

    private func tellOfDiscarded(_ items: [WorkItem]) {
        for item in items {
            events(
                DeliveryEvent(
                    id: item.id, recipient: nil, recipientCount: item.recipients.count,
                    destination: item.destination, host: nil, address: nil, channel: nil,
                    outcome: .delivered, status: Self.discardStatus, duration: .zero))
        }
    }

    /// Ends delivery: messages under way get `grace` to end, everything else goes back to the spool
    /// as not attempted. Blocks until the workers are gone; the spool must still take outcomes.
    public func stop(grace: Duration) {
        let running = state.withLock { state -> Running? in
            guard case .running(let running) = state else {
                if case .idle = state { state = .stopped }
                return nil
            }
            state = .stopped
            return running
        }
        guard let running else { return }
        running.colleagues.end()
        for worker in running.workers { worker.post(.stop(grace: grace)) }
        running.maildirs?.stop()
        for worker in running.workers { worker.join() }
        running.preparation.stop()
        running.resolver?.stop()
    }
}
