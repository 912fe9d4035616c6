import DequeModule
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization

/// What is posted to the spool thread.
enum SpoolRequest: Sendable {
    case submission(Submission)
    case journaled([JournaledSubmission])
    /// Whoever looks at the tables next wants what the journal has taken so far to be there.
    case settling(Inbox<Void>)
    case outcomes([DeliveryOutcome])
    case operation(OperationJob)
    /// A reader found this message damaged.
    case damaged(MessageID, String)
    /// A reader found the spool as a whole damaged.
    case suspected(String)
    /// There is less free space than there should be: perhaps there are pages to be used again.
    case room
    case change(SpoolChange)
}

/// Other settings for a spool that runs.
struct SpoolChange: Sendable {
    let options: SpoolOptions
    let dispatch: any DeliveryDispatch
    /// Whether mail may go elsewhere from now on.
    let isRouting: Bool
}

/// The spool thread: the only writer, and the owner of the schedule.
///
/// One turn takes everything that waits, writes one transaction, commits, acknowledges all of it in
/// one call, and hands out what is due. While it works the next batch gathers in the inbox, so that
/// a busy spool commits large batches and an idle one commits at once; there is no timer but the
/// next due time and the moment that outcomes wait for company (`gather`).
final class SpoolLoop {
    let store: SpoolStore
    var options: SpoolOptions
    let ids: MessageIDSource
    let shared: SpoolShared
    let inbox: Inbox<SpoolRequest>
    private let journal: Inbox<JournalRequest>
    /// Greater than any id of an earlier process: content files from here on are being written
    /// now, and none of the sweep's business.
    let firstID: MessageID
    var dispatch: any DeliveryDispatch
    let acknowledge: @Sendable ([Acknowledgement]) -> Void

    var writer = MessageWriter()
    var hasBegun = false
    var schedule: Schedule
    var reserve: ReserveFile
    let quarantine: Quarantine

    // Taken from the inbox and not yet on disk.
    var submissions: Deque<Submission> = []
    /// In the journal, and to be brought into the tables.
    var journaled: Deque<JournaledSubmission>
    private var isJournalBegun = false
    /// Who waits for the journal to be in the tables.
    var settling: [Inbox<Void>] = []
    var outcomes: Deque<TakenOutcome> = []
    var jobs: Deque<OperationJob> = []
    var expired: Deque<MessageID> = []
    var damaged: Deque<(id: MessageID, reason: String)> = []
    /// Refused after a commit whose result is unknown: if they are there after all, they go.
    var doubtful: [Submission] = []
    /// Content files that have been unlinked; their notes go when the directories are synced.
    var unlinked: [MessageID] = []

    var stall = Stall.none
    /// Whether `.stalled` was told and `.resumed` wasn't yet.
    var isStallTold = false

    /// What readers of the queue have of the census, and since when.
    private var published: (revision: UInt64, at: ContinuousClock.Instant)?

    var thrift = Thrift.none

    /// Whether results that make records longer are written.
    enum Thrift {
        case none
        /// Not before this moment: there is no room, and no reserve any more.
        case until(ContinuousClock.Instant)
    }

    /// Whether results can be written.
    enum Stall {
        case none
        /// They couldn't: tried again from this moment on, which no setting of the clock moves.
        /// Until they are written nothing is accepted.
        case until(ContinuousClock.Instant, SpoolError)
        /// The spool can't be read: nothing is accepted any more.
        case forGood(SpoolError)

        var error: SpoolError? {
            switch self {
            case .none: nil
            case .until(_, let error), .forGood(let error): error
            }
        }
    }

    /// A batch holds at most this much (design: bounded pages in memory, bounded latency).
    static let batchMessages = 1000
    static let batchOctets = 16 << 20
    static let batchOutcomes = 2000
    /// With the reserve given up transactions must fit into it.
    static let batchOutcomesOnFullDisk = 50
    static let stallTime = Duration.seconds(1)
    static let thriftTime = Duration.seconds(10)
    /// Seconds after which is tried again what was put off for want of room, unless the schedule
    /// begins with fewer.
    static let postponement: Int64 = 60
    /// What waits is due by the wall clock, which may be set meanwhile: it is looked at this often.
    static let longestWait: Int64 = 60
    /// How old the census is at most that readers of the queue have: with each copy that they have the
    /// next change copies all of it.
    static let censusInterval = Duration.seconds(1)

    init(
        store: SpoolStore, options: SpoolOptions, ids: MessageIDSource, shared: SpoolShared,
        inbox: Inbox<SpoolRequest>, journal: Inbox<JournalRequest>, firstID: MessageID,
        journaled: [JournaledSubmission], dispatch: any DeliveryDispatch,
        acknowledge: @escaping @Sendable ([Acknowledgement]) -> Void
    ) {
        self.store = store
        self.options = options
        self.ids = ids
        self.shared = shared
        self.inbox = inbox
        self.journal = journal
        self.journaled = Deque(journaled)
        self.firstID = firstID
        self.dispatch = dispatch
        self.acknowledge = acknowledge
        schedule = Schedule(outstandingLimit: options.outstandingLimit)
        reserve = ReserveFile(directory: options.path)
        quarantine = Quarantine(directory: options.path)
    }

    var now: UnixTime { options.clock() }

    /// Runs until the inbox is closed and everything taken from it is on disk.
    ///
    /// - Parameter suspects: messages that were found damaged when the spool was opened.
    func run(suspects: [MessageID: String]) {
        recover(suspects: suspects)
        reserve.fill()
        journalMayBegin()
        shared.isJournaling.store(isJournaling, ordering: .relaxed)
        handOut()
        publish()
        publishObstacles()
        lookForRoom()
        publishCensus()
        // Clients wait for the journal; what is done here can wait for the reactor.
        Scheduling.batch.apply()
        var isOpen = true
        while isOpen {
            switch inbox.take(within: patience) {
            case .elements(let requests):
                for request in requests { take(request) }
                gather()
            case .timedOut: break
            case .closed: isOpen = false
            }
            turn()
        }
        // A stalled spool gets one more chance; then what can't be written is delivered again.
        if case .until = stall { stall = .none }
        while hasWork { turn() }
        finish()
    }

    private func turn() {
        let passed = schedule.advance(to: now)
        expired.append(contentsOf: passed.expired)
        for (id, number) in passed.overdue {
            guard let (destination, reason, answer) = schedule.withdraw(id, from: number)
            else { continue }
            outcomes.append(
                TakenOutcome(
                    id: id, destination: destination, finding: .waited(reason), answer: answer))
        }
        handOut()
        if hasWork {
            commitBatch()
            handOut()
        }
        publish()
        publishObstacles()
        publishCensus()
        tellSettled()
        shared.isRefusing.store(isStalled, ordering: .relaxed)
        shared.isJournaling.store(isJournaling, ordering: .relaxed)
    }

    /// Has a journal begun once all that an earlier one held is in the tables.
    func journalMayBegin() {
        guard !isJournalBegun, journaled.isEmpty else { return }
        isJournalBegun = true
        journal.post(.begin(applied: store.applied))
    }

    /// Nobody waits for a disk that may never work again.
    private func tellSettled() {
        guard !settling.isEmpty, journaled.isEmpty || isStalled else { return }
        for waiter in settling { waiter.post(()) }
        settling = []
    }

    /// How long to wait for requests.
    private var patience: Duration? {
        if hasWork { return .zero }
        switch stall {
        case .until where hasWaiting: return Self.stallTime
        case .none, .until, .forGood: break
        }
        let wait = schedule.nextDue.map {
            Duration.seconds(min(max(0, $0 - now.seconds), Self.longestWait))
        }
        guard published?.revision != schedule.census.revision else { return wait }
        return min(wait ?? Self.censusInterval, Self.censusInterval)
    }

    /// Whether nothing can be written now.
    var isStalled: Bool {
        switch stall {
        case .none: false
        case .until(let moment, _): ContinuousClock.now < moment
        case .forGood: true
        }
    }

    var isThrifty: Bool {
        switch thrift {
        case .none: false
        case .until(let moment): ContinuousClock.now < moment
        }
    }

    private var hasWork: Bool {
        if !submissions.isEmpty { return true }
        return !isStalled && hasWaiting
    }

    /// Whether something is to be written beside submissions.
    private var hasWaiting: Bool {
        !journaled.isEmpty || !outcomes.isEmpty || !jobs.isEmpty || !expired.isEmpty
            || !damaged.isEmpty
    }

    /// Nobody waits for a disk that may never work again. What nobody waits for goes on with it.
    func endJobs(_ error: SpoolError) {
        let ended = jobs.filter(\.isAskedFor)
        jobs.removeAll(where: \.isAskedFor)
        for job in ended { job.end(error) }
    }

    /// Those whose askers have gone.
    func dropUnwantedJobs() {
        let unwanted = jobs.filter { !$0.isWanted }
        guard !unwanted.isEmpty else { return }
        jobs.removeAll { job in unwanted.contains { $0 === job } }
        for job in unwanted { job.end(.stopped) }
    }

    func take(_ request: SpoolRequest) {
        switch request {
        case .submission(let submission): submissions.append(submission)
        case .journaled(let list): journaled.append(contentsOf: list)
        case .settling(let waiter): settling.append(waiter)
        case .outcomes(let list):
            for outcome in list { take(outcome) }
        case .operation(let job):
            jobs.append(job)
            if isStalled, let error = stall.error { endJobs(error) }
        case .damaged(let id, let reason): damaged.append((id, reason))
        case .suspected(let reason):
            // Looked at by the next start; until then whoever can be served is.
            if store.isSound { options.events(.suspected(reason)) }
            store.isSound = false
        case .room: lookForRoom()
        case .change(let change): adopt(change)
        }
    }

    /// For those who ask before they submit.
    func lookForRoom() {
        _ = store.hasRoom(for: 0, minimumFree: options.minimumFree, shared)
    }

    /// An outcome that answers an item that is out; the others are nobody's business any more.
    private func take(_ outcome: DeliveryOutcome) {
        let (id, destination) = (outcome.id, outcome.destination)
        guard let answer = schedule.answer(id, destination) else { return }
        if schedule.travellers.remove(id) != nil { reroute(.ids([id])) }
        switch outcome.results {
        case .all(.notAttempted):
            // Nothing to write down: offered again a moment later.
            let again = now + Settlement.offerAgain
            schedule.probeNotMade(id, destination, until: again)
            let plan = GroupPlan(
                destination: destination, state: .waiting(until: again.seconds),
                members: answer.members)
            schedule.settle(id, destination, with: [plan])
            return
        case .unreached(let reason):
            let found = schedule.unreached(id, destination, because: reason, answer, now: now) {
                options.retry.probeDelay(after: $0, spread: Double.random(in: 0...1))
            }
            guard case .attempt(let until) = found else { return }
            options.events(.unreachable(destination, reason, nextProbe: until))
        case .all, .each:
            if schedule.reached(destination) { options.events(.reachable(destination)) }
        }
        outcomes.append(
            TakenOutcome(
                id: id, destination: destination, finding: .results(outcome.results),
                answer: answer))
    }

    func handOut() {
        // Results of what is delivered now couldn't be written.
        if case .forGood = stall { return }
        let work = schedule.takeWork()
        if !work.isEmpty { dispatch.deliver(work) }
    }

    func publish() {
        let counts = schedule.counts
        shared.statistics.withLock { statistics in
            statistics.messages = counts.messages
            statistics.octets = counts.octets
            statistics.outstanding = counts.outstanding
            statistics.held = counts.held
            statistics.failed = counts.failed
        }
    }

    private func publishCensus() {
        let census = schedule.census
        if let published {
            guard published.revision != census.revision,
                ContinuousClock.now - published.at >= Self.censusInterval
            else { return }
        }
        published = (census.revision, .now)
        shared.census.withLock { $0 = census }
    }

    /// Tells readers of the queue what stands in the way of whom.
    func publishObstacles() {
        guard let obstacles = schedule.changedObstacles() else { return }
        shared.obstacles.withLock { $0 = obstacles }
    }

    /// As readers of the queue see it, once `publishObstacles` has said so.
    var sight: QueueSight {
        QueueSight(
            now: now, obstacles: shared.obstacles.withLock { $0 }, dispatch: dispatch)
    }

    /// Leaves a clean end: the notes of removed files go, the greatest id stays.
    private func finish() {
        for submission in submissions {
            acknowledge([Acknowledgement(token: submission.token, result: .failure(.stopped))])
        }
        for waiter in settling { waiter.close() }
        endJobs(.stopped)
        forgetRemovedFiles()
        try? store.saveState(lastID: ids.latest)
        store.close()
    }
}

/// What became of an item that was out, with what the schedule knew about it.
struct TakenOutcome {
    enum Finding {
        case results(DeliveryOutcome.Results)
        /// Nothing was tried, as the destination can't be reached for this reason, and the message's
        /// deadline has come meanwhile.
        case waited(DeliveryStatus)
    }

    let id: MessageID
    let destination: Destination
    let finding: Finding
    let answer: Schedule.Answer

    /// The way nearly all mail goes: nobody needs its envelope any more.
    var isRemoval: Bool { answer.isWholeMessage && finding.isFullSuccess }
}

extension TakenOutcome.Finding {
    /// Everybody has got it.
    var isFullSuccess: Bool {
        switch self {
        case .results(.all(.delivered)), .results(.all(.relayed)): true
        case .results, .waited: false
        }
    }

    /// Something was tried.
    var isAttempt: Bool {
        switch self {
        case .results: true
        case .waited: false
        }
    }

    /// Somebody has got it.
    var isDeliveredToSome: Bool {
        switch self {
        case .results(.all(let result)): result.isDelivered
        case .results(.each(let list)): list.contains { $0.result.isDelivered }
        case .results(.unreached), .waited: false
        }
    }
}

extension RecipientResult {
    fileprivate var isDelivered: Bool {
        switch self {
        case .delivered, .relayed: true
        case .deferred, .failed, .notAttempted: false
        }
    }
}

/// What the spool thread tells other threads without being asked.
final class SpoolShared: Sendable {
    let statistics = Locked(SpoolStatistics())
    let census = Locked(QueueCensus())
    /// Set while results can't be written, and nothing is accepted for it.
    let isRefusing = Atomic(false)
    /// What keeps mail for which destinations from being tried.
    let obstacles = Locked<[Destination: DestinationObstacle]>([:])
    /// Whether the journal takes mail: nothing stands in the way of what it has taken.
    let isJournaling = Atomic(false)
    /// The number of the last entry of the journal that is synced, and of the last that is in the tables.
    let journaled = Atomic<UInt64>(0)
    let applied = Atomic<UInt64>(0)
    /// Set while there is too little room to accept mail.
    let isShort = Atomic(false)
    /// Octets of pages in the spool that can be written without the file growing.
    let reusable = Atomic<UInt64>(0)
    /// When the file system was last asked by somebody who hadn't submitted yet; seconds of an
    /// arbitrary clock.
    let lastLook = Atomic<Int64>(.min)
}
