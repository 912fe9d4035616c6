import DequeModule
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// What a worker is told.
enum WorkerMessage: Sendable {
    case work([WorkItem])
    case resolved(Destination, Resolution)
    /// What another worker had, with the hosts that it has found for it.
    case adopted(Destination, [DestinationQueue.Item], Resolution)
    /// What was asked of `ContentPreparation` for a connection, which may be gone.
    case prepared(ConnectionID, ContentPreparation.Outcome)
    /// Other settings; with so many connections for this worker.
    case change(DeliverySettings, maximumConnections: Int)
    case stop(grace: Duration)
}

/// One thread's share of the destinations, with all their connections. Nothing in it blocks but the
/// short reads of the spool.
final class DeliveryWorker {
    unowned let loop: EventLoop
    /// Of this one among its colleagues.
    let number: Int
    let colleagues: Colleagues
    private(set) var settings: DeliverySettings
    private(set) var heloName: [UInt8]
    let tls: TLSContexts
    var clearHosts = ClearHosts()
    private var ownHosts: OwnHosts
    let store: any MessageStore
    let events: @Sendable (DeliveryEvent) -> Void
    /// Asks for the hosts of a next hop; the answer comes as a message.
    private let resolve: (Destination, RemoteServer) -> Void
    /// Has content made ready, in 7 bits if so asked; the answer comes as a message.
    let requestPreparation: (ConnectionID, DeliveryJob, _ inSevenBits: Bool) -> Void

    var queues: [Destination: DestinationQueue] = [:]
    let table = ConnectionTable<ClientConnection>()
    /// Those whose QUIT is on its way, so that stopping can wait for it.
    var partingConnections: [ObjectIdentifier: ClientConnection] = [:]
    private(set) var maximumConnections: Int
    /// Sockets of connections that are tried beside another one: `HostRace`.
    var racerCount = 0 {
        didSet { if racerCount < oldValue { roomAppeared() } }
    }
    var shared = SharedConnections()
    /// While no descriptor was to be had: nothing is opened.
    var shortage: LoopTimer?
    /// Destinations that want a connection when one is free.
    var line = RoomLine()
    var isServingLine = false
    /// Those that want to try one address more when there is room.
    var waitingRaces: [ObjectIdentifier: HostRace] = [:]
    /// Connections that are opened for destinations that were silent before.
    var secondLooks = 0
    /// When places are looked for that are free or may be taken back.
    var placeTimer: (due: MonotonicTime, timer: LoopTimer)?
    var latestPlaceSearch = MonotonicTime(nanoseconds: 0)
    private var sweep: LoopTimer?
    /// Told to the spool when everything that happens now has happened.
    var outcomes: [DeliveryOutcome] = []
    var flush: LoopTimer?
    var phase = Phase.running

    enum Phase {
        case running
        case stopping(LoopTimer)
    }

    init(
        loop: EventLoop, number: Int, colleagues: Colleagues, settings: DeliverySettings,
        maximumConnections: Int, tls: TLSContexts, store: any MessageStore,
        events: @escaping @Sendable (DeliveryEvent) -> Void,
        resolve: @escaping (Destination, RemoteServer) -> Void,
        prepare: @escaping (ConnectionID, DeliveryJob, _ inSevenBits: Bool) -> Void
    ) {
        self.loop = loop
        self.number = number
        self.colleagues = colleagues
        self.settings = settings
        heloName = Array(settings.heloName.utf8)
        ownHosts = OwnHosts(settings)
        self.maximumConnections = maximumConnections
        self.tls = tls
        self.store = store
        self.events = events
        self.resolve = resolve
        requestPreparation = prepare
        sweep = table.sweepEverySecond(on: loop) { _, connection in connection.expired() }
    }

    var now: MonotonicTime { loop.now }

    var isStopping: Bool {
        switch phase {
        case .running: false
        case .stopping: true
        }
    }

    func receive(_ messages: [WorkerMessage]) {
        for message in messages {
            switch message {
            case .work(let items): accept(items)
            case .resolved(let destination, let resolution): found(resolution, for: destination)
            case .adopted(let destination, let items, let resolution):
                adopt(items, for: destination, resolution)
            case .prepared(let id, let outcome): table[id]?.contentReady(outcome)
            case .change(let settings, let connections): change(settings, connections)
            case .stop(let grace): stop(grace)
            }
        }
    }

    /// For what begins from now on; what a connection has begun goes on as it is.
    private func change(_ settings: DeliverySettings, _ maximumConnections: Int) {
        self.settings = settings
        self.maximumConnections = maximumConnections
        heloName = Array(settings.heloName.utf8)
        ownHosts = OwnHosts(settings)
        for queue in queues.values {
            guard let terms = DeliveryTerms(name: queue.destination.name) else { continue }
            queue.login = terms.logsIn ? settings.relayLogin : nil
            queue.limit(to: terms.limitedDomain.flatMap { settings.rate(for: $0) })
            queue.window.ceiling = max(1, settings.maximumConnectionsPerDestination)
            noteOurselves(queue)
        }
        serveThoseWaiting()
    }

    private func noteOurselves(_ queue: DestinationQueue) {
        queue.isOurselves = false
        guard case .address(let address) = queue.server.host, !settings.names(queue.server) else {
            return
        }
        queue.isOurselves = ownHosts.isListening(SocketAddress(address, port: queue.server.port))
    }

    // MARK: Work

    private func accept(_ items: [WorkItem]) {
        var touched: Set<Destination> = []
        for item in items {
            guard !isStopping, let queue = queue(for: item.destination) else {
                answer(DeliveryOutcome(item, .all(.notAttempted)))
                continue
            }
            queue.items.append(.init(id: item.id, recipients: item.recipients))
            touched.insert(item.destination)
        }
        for destination in touched {
            if let queue = queues[destination] { serve(queue) }
        }
    }

    func queue(for destination: Destination) -> DestinationQueue? {
        if let queue = queues[destination] { return queue }
        guard let terms = DeliveryTerms(name: destination.name),
            let (server, mailProtocol) = terms.hop.server
        else { return nil }
        let queue = DestinationQueue(
            destination, server, speaking: mailProtocol, tls: terms.tls,
            login: terms.logsIn ? settings.relayLogin : nil,
            rate: terms.limitedDomain.flatMap { settings.rate(for: $0) },
            maximumWindow: settings.maximumConnectionsPerDestination)
        noteOurselves(queue)
        queues[destination] = queue
        return queue
    }

    /// Gives what waits to connections: kept ones first, then new ones.
    func serve(_ queue: DestinationQueue) {
        while !queue.items.isEmpty, !isHeldBack(queue), let connection = queue.idle.popLast() {
            connection.wake()
        }
        guard !queue.items.isEmpty, !isStopping else { return forgetIfUnused(queue) }
        if isHeldBack(queue) { return }
        if queue.isOurselves {
            return giveUp(queue, FailureReason(.loop, of: queue.server), over: nil)
        }
        switch queue.hosts {
        case .known(let hosts, let until) where now < until: open(queue, hosts)
        case .asked: return
        case .known, .unknown:
            queue.hosts = .asked
            resolve(queue.destination, queue.server)
        }
    }

    private func open(_ queue: DestinationQueue, _ hosts: [MailHost]) {
        borrow(for: queue, to: hosts)
        while queue.connectionsWanted(at: now) > 0 {
            if !hasRoom { makeRoom() }
            guard hasRoom else { return waitForRoom(queue) }
            let connection = ClientConnection(
                worker: self, queue: queue, targets: queue.targets(of: hosts, at: now))
            connection.id = table.insert(connection)
            queue.connections[ObjectIdentifier(connection)] = connection
            queue.openingCount += 1
            if connection.isSecondLook { secondLooks += 1 }
            if !line.isEmpty { expectPlaces(at: now + settings.timeouts.firstLook) }
            connection.openNext()
            tryAnotherLater(queue)
        }
    }

    /// Whether some destination waits for a connection that it may not open now.
    var isRoomWanted: Bool {
        line.contains { (queues[$0]?.connectionsWanted(at: now) ?? 0) > 0 }
    }

    /// Ends a resting connection of whatever destination.
    private func makeRoom() {
        var resting: ClientConnection?
        table.forEach { if $1.isResting { resting = $1 } }
        resting?.stop(atOnce: false)
    }

    func forgetIfUnused(_ queue: DestinationQueue) {
        guard queue.isUnused else { return }
        if !isRemembered(queue) { queues[queue.destination] = nil }
    }

    func found(
        _ resolution: Resolution, for destination: Destination, isAdopted: Bool = false
    ) {
        guard let queue = queues[destination], case .asked = queue.hosts else { return }
        switch resolution {
        case .hosts(let found, let seconds):
            let others = withoutUs(found, of: queue.server)
            guard !others.isEmpty else {
                queue.hosts = .unknown
                return giveUp(queue, FailureReason(.loop, of: queue.server), over: nil)
            }
            let hosts = queue.acceptable(others)
            guard !hosts.isEmpty else {
                queue.hosts = .unknown
                return giveUp(queue, .unprovenExchangers(of: queue.server), over: nil)
            }
            if !isAdopted, handOver(queue, to: hosts, resolution) { return }
            queue.hosts = .known(hosts, until: now + .seconds(min(max(seconds, 30), 600)))
            serve(queue)
        case .failed(.noAnswer) where DescriptorLimit.isReached:
            // The resolver couldn't ask.
            queue.hosts = .unknown
            beginShortage()
            waitForRoom(queue)
        case .failed(let failure):
            queue.hosts = .unknown
            giveUp(queue, FailureReason(failure, of: queue.server), over: nil)
        }
    }

    /// A host that the configuration names is what the operator meant.
    private func withoutUs(_ hosts: [MailHost], of server: RemoteServer) -> [MailHost] {
        switch server.host {
        case .address, .host, .socket: hosts
        case .mailExchangers: ownHosts.hostsBeforeUs(hosts, port: server.port)
        }
    }

    // MARK: What connections say

    func source(for address: SocketAddress) -> SocketAddress? {
        let isV4 = if case .v4? = address.host { true } else { false }
        return settings.sourceAddresses.first { $0.isV4 == isV4 }
            .map { SocketAddress($0, port: 0) }
    }

    func setDeadline(_ limit: Duration?, of connection: ClientConnection) {
        guard let id = connection.id else { return }
        table.setDeadline(limit.map { now + $0 }, for: id)
    }

    /// A connection has become ready for its first message.
    func opened(_ connection: ClientConnection) {
        endOpening(connection)
        connection.queue.standing = .proven(now)
    }

    func couldNotOpen(_ connection: ClientConnection, _ reason: FailureReason) {
        let queue = connection.queue
        endOpening(connection)
        queue.window.connectionRefused(at: now)
        remove(connection)
        // Others that stand, or are still trying, go on with what waits.
        if queue.connections.isEmpty, !isStopping { giveUp(queue, reason, over: connection) }
        afterRemoval(of: connection)
    }

    /// The next message that can be read and still has a recipient.
    func nextJob(of queue: DestinationQueue) -> DeliveryJob? {
        while !isHeldBack(queue), let item = queue.items.popFirst() {
            do throws(SpoolError) {
                let message = try store.find(item.id)
                if let job = DeliveryJob(item, message, at: now) {
                    queue.rate?.begin(at: now)
                    return job
                }
                notAttempted(item, of: queue)
            } catch .unknownMessage, .stopped {
                notAttempted(item, of: queue)
            } catch {
                unreadable(item, of: queue, error)
            }
        }
        return nil
    }

    /// The item is the next again.
    func returnItem(of job: DeliveryJob, to queue: DestinationQueue) {
        if isStopping { return notAttempted(job.item, of: queue) }
        queue.items.prepend(job.item)
    }

    func finish(_ job: DeliveryJob, of queue: DestinationQueue) {
        answer(job.outcome(for: queue.destination))
        // The window may have grown.
        if !queue.items.isEmpty { serve(queue) }
    }

    func closed(_ connection: ClientConnection, wasOpening: Bool) {
        if wasOpening { endOpening(connection) }
        remove(connection)
        afterRemoval(of: connection)
    }

    func parting(_ connection: ClientConnection) {
        partingConnections[ObjectIdentifier(connection)] = connection
    }

    func parted(_ connection: ClientConnection) {
        partingConnections[ObjectIdentifier(connection)] = nil
        endIfStopped()
    }

    func remove(_ connection: ClientConnection) {
        if let id = connection.id { table.remove(id) }
        shared.remove(connection)
        connection.queue.connections[ObjectIdentifier(connection)] = nil
        connection.queue.idle.removeAll { $0 === connection }
    }

    func afterRemoval(of connection: ClientConnection) {
        // Those that waited come first: else a busy destination would take its place again and again.
        serveThoseWaiting()
        serve(connection.queue)
        endIfStopped()
    }
}
