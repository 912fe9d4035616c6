import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization

/// The durable queue: mail that was accepted and isn't delivered yet.
///
/// `accept`, `record`, `read` and the operations are for any thread. Nothing here sends or answers
/// anything: work goes to a `DeliveryDispatch`, results to `acknowledge`, both on the spool thread.
public final class Spool: Sendable {
    /// Where message ids come from; greater than any the queue holds.
    public let ids: MessageIDSource

    let store: SpoolStore
    let options: SpoolOptions
    private let directory: Locked<Held?>
    private let contentDirectories: ContentDirectories
    private let purpose: SpoolPurpose
    private let suspects: [MessageID: String]
    private let journaled: [JournaledSubmission]
    private let firstID: MessageID
    let shared = SpoolShared()
    private let inbox = Inbox<SpoolRequest>()
    private let journal = Inbox<JournalRequest>()
    private let phase = Locked(Phase.opened)
    private let acknowledge = Locked<(@Sendable ([Acknowledgement]) -> Void)?>(nil)
    private let minimumFree: Locked<UInt64?>
    /// From `start` to `stop`.
    private let dispatch = Locked<(any DeliveryDispatch)?>(nil)

    private enum Phase {
        case opened
        case running(spool: NamedThread, journal: NamedThread)
        case stopped
    }

    /// Owns the lock of the directory until the spool is closed.
    private final class Held: Sendable {
        private let directory: QueueDirectory
        init(_ directory: consuming QueueDirectory) { self.directory = directory }
    }

    private init(
        _ options: SpoolOptions, _ purpose: SpoolPurpose, _ directory: Held,
        _ contentDirectories: ContentDirectories, _ opened: SpoolOpening.Opened
    ) {
        self.options = options
        minimumFree = Locked(options.minimumFree)
        self.purpose = purpose
        self.contentDirectories = contentDirectories
        self.directory = Locked(directory)
        store = opened.store
        suspects = opened.damaged
        journaled = opened.journaled
        ids = MessageIDSource(above: opened.last)
        firstID = ids.next()
    }

    deinit { stop() }

    /// Locks `queue_dir` and opens what is in it. Nothing is delivered until `start`.
    ///
    /// When the spool wasn't closed in good order all of it is looked at first (`checker`), which takes
    /// as long as reading it; a server has a damaged one salvaged, and says so by events.
    ///
    /// - Parameter purpose: unless mail is to be served, there must be a queue already; one that is
    ///   only looked at is never started.
    /// - Throws: `.held` when another process has it (exit status 75), `.noQueue`,
    ///   `.networkFileSystem`, `.directory`, `.unreadable` when the spool is damaged as a whole and
    ///   no mail is to be served, `.full`, `.storage`.
    public static func open(
        _ options: SpoolOptions, for purpose: SpoolPurpose = .serving
    ) throws(SpoolError) -> Spool {
        let directory = Held(
            try QueueDirectory(
                options.path, for: purpose,
                allowNetworkFileSystem: options.allowNetworkFileSystem))
        let opening = SpoolOpening(options)
        let contentDirectories = ContentDirectories(queue: options.path)
        if purpose == .looking {
            return Spool(options, purpose, directory, contentDirectories, try opening.look())
        }
        let opened = try opening.change(isSalvaged: purpose == .serving)
        do throws(FileError) {
            // The name of `spool.mdb`, should it be new.
            try FileSystem.syncDirectory(options.path)
            try contentDirectories.syncAll()
        } catch {
            throw .directory(error.description)
        }
        if purpose == .changing { try opened.store.bringIn(opened.journaled) }
        return Spool(options, purpose, directory, contentDirectories, opened)
    }

    /// Begins the spool thread: it brings the schedule back from disk, hands out what is due, and
    /// takes what has been posted. `SpoolEvent.recovered` tells when it is there. Call it once.
    ///
    /// - Parameter acknowledge: gets the results of all submissions of a commit in one call, on the
    ///   spool thread, after the commit has returned and never before. Must not block.
    /// - Throws: `.storage` when the thread can't be started.
    public func start(
        acknowledge: @escaping @Sendable ([Acknowledgement]) -> Void,
        dispatch: any DeliveryDispatch
    ) throws(SpoolError) {
        let (store, options, ids, shared) = (store, options, ids, shared)
        let (inbox, journal) = (inbox, journal)
        let (firstID, suspects, journaled) = (firstID, suspects, journaled)
        shared.applied.store(store.applied, ordering: .releasing)
        shared.journaled.store(journaled.last?.sequence ?? store.applied, ordering: .releasing)
        self.acknowledge.withLock { $0 = acknowledge }
        self.dispatch.withLock { $0 = dispatch }
        let failure = phase.withLock { phase -> SpoolError? in
            guard case .opened = phase else { return .stopped }
            do throws(ThreadError) {
                let writer = try NamedThread("elemta-journal") {
                    JournalLoop(
                        inbox: journal, spool: inbox, options: options, shared: shared,
                        acknowledge: acknowledge
                    ).run()
                }
                do throws(ThreadError) {
                    let thread = try NamedThread("elemta-spool") {
                        SpoolLoop(
                            store: store, options: options, ids: ids, shared: shared, inbox: inbox,
                            journal: journal, firstID: firstID, journaled: journaled,
                            dispatch: dispatch, acknowledge: acknowledge
                        ).run(suspects: suspects)
                    }
                    phase = .running(spool: thread, journal: writer)
                } catch {
                    journal.close()
                    writer.join()
                    throw error
                }
                return nil
            } catch {
                return .storage(error.description)
            }
        }
        if let failure { throw failure }
    }

    /// Commits what has been posted and closes the spool. Blocks until that is done; what is
    /// accepted or recorded afterwards is refused or lost. May be called more than once.
    public func stop() {
        let ended = phase.withLock { phase -> Phase in
            let ended = phase
            phase = .stopped
            return ended
        }
        switch ended {
        case .opened:
            journal.close()
            inbox.close()
            store.close()
        case .running(let spool, let writer):
            // What the journal takes at last goes to the spool.
            journal.close()
            writer.join()
            inbox.close()
            spool.join()
        case .stopped: return
        }
        dispatch.withLock { $0 = nil }
        // Without it all that happens is that the next start looks at everything.
        if purpose != .looking, store.isSound, store.doubt == nil {
            try? StopMark(queue: options.path).leave()
        }
        directory.withLock { $0 = nil }
    }

    /// Takes other settings over while the spool runs: `hostname`, `retry`, `failedRetention`,
    /// `delayWarning` and `minimumFree` of `options`, and who is asked where mail goes.
    ///
    /// - Parameter isRouting: whether mail may go elsewhere from now on: then what is queued is sorted
    ///   anew, between batches. What is with a worker comes back first.
    public func change(
        _ options: SpoolOptions, dispatch: any DeliveryDispatch, isRouting: Bool
    ) {
        minimumFree.withLock { $0 = options.minimumFree }
        self.dispatch.withLock { if $0 != nil { $0 = dispatch } }
        let change = SpoolChange(options: options, dispatch: dispatch, isRouting: isRouting)
        inbox.post(.change(change), weight: SpoolRequest.weight)
    }

    // MARK: - Mail

    /// Takes a message. Its acknowledgement comes with the commit it is part of; after `stop` it is
    /// `.stopped`, at once and on the calling thread.
    public func accept(_ submission: Submission) {
        if case .file(let file) = submission.content { file.handOver() }
        guard !journal.post(.submission(submission)) else { return }
        if case .file(let file) = submission.content { file.discard() }
        let answer = Acknowledgement(token: submission.token, result: .failure(.stopped))
        acknowledge.withLock { $0 }?([answer])
    }

    /// Takes the answers to work items; on disk with the next commit.
    public func record(_ outcomes: [DeliveryOutcome]) {
        guard !outcomes.isEmpty else { return }
        inbox.post(.outcomes(outcomes), weight: SpoolRequest.outcomesWeight)
    }

    /// Reads a message with its content, all of it verified. Content in LMDB is copied out, so that
    /// a slow next hop pins nothing; a content file is named.
    ///
    /// - Throws: `.unknownMessage`, `.damaged` (the message is on its way to quarantine) or
    ///   `.storage`.
    public func read(_ id: MessageID) throws(SpoolError) -> StoredMessage {
        try onceThere { () throws(SpoolError) in
            try reportingDamage { () throws(SpoolError) in try store.read(id) }
        }
    }

    /// Where the queue is.
    public var path: String { options.path }

    /// What turns out to be damaged goes to quarantine.
    func reportingDamage<R: ~Copyable>(
        _ body: () throws(SpoolError) -> R
    ) throws(SpoolError) -> R {
        do throws(SpoolError) {
            return try body()
        } catch {
            switch error {
            case .damaged(let id, let reason):
                inbox.post(.damaged(id, reason), weight: SpoolRequest.weight)
            case .unreadable(let reason):
                inbox.post(.suspected(reason), weight: SpoolRequest.weight)
            default: break
            }
            throw error
        }
    }

    /// A writer for content that is too big to wait in memory. Nothing is written before `begin`.
    ///
    /// - Parameter envelope: a copy goes into the file, for whoever finds it without the spool.
    public func contentFile(for envelope: Envelope) -> ContentFileWriter {
        ContentFileWriter(
            queue: options.path, directories: contentDirectories, envelope: envelope,
            generation: store.generation)
    }

    /// Whether there is room for mail; when not, answer 452 4.3.1 at MAIL. Cheap as long as there is:
    /// the file system is asked once a second.
    public var hasRoom: Bool {
        let isShort = shared.isShort.load(ordering: .relaxed)
        guard isDueForLook() || isShort else { return true }
        guard let room = FileSystem.room(at: options.path) else { return true }
        let minimum = minimumFree.withLock { $0 } ?? min(64 << 20, room.total / 50)
        if room.free >= minimum { return true }
        if !isShort { inbox.post(.room, weight: SpoolRequest.weight) }
        return room.free + shared.reusable.load(ordering: .relaxed) >= minimum
    }

    private func isDueForLook() -> Bool {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
        return shared.lastLook.exchange(Int64(now.tv_sec), ordering: .relaxed) != now.tv_sec
    }

    /// Whether nothing is accepted as the disk is in trouble, or the spool damaged.
    public var isRefusing: Bool { shared.isRefusing.load(ordering: .relaxed) }

    /// What waits for the spool thread: submissions and answers of the workers.
    public var backlog: Int { journal.count + inbox.count }

    // MARK: - Operations

    /// Messages by state and age, as they were a second ago at most. Of a spool that was started.
    public var census: QueueCensus { shared.census.withLock { $0 } }

    /// How the queue is looked at now.
    public var sight: QueueSight {
        QueueSight(
            now: options.clock(), obstacles: shared.obstacles.withLock { $0 },
            dispatch: dispatch.withLock { $0 })
    }

    /// The next messages in order of arrival, at most `limit` of them examined: a slice of
    /// `queue list`.
    ///
    /// - Returns: those that match, and where the next slice begins; nil at the end.
    public func list(
        _ selection: QueueSelection = .all, after: MessageID? = nil, limit: Int = 500
    ) throws(SpoolError) -> (messages: [MessageSummary], next: MessageID?) {
        settle()
        return try store.list(selection, after: after, limit: limit, sight)
    }

    /// A message's envelope with the state of its recipients and its attempts.
    public func show(_ id: MessageID) throws(SpoolError) -> Envelope {
        settle()
        return try store.envelope(id).envelope
    }

    /// Waits until what was acknowledged before this call is in the tables, a few milliseconds at most
    /// while the disk works.
    ///
    /// - Returns: whether there was anything to wait for.
    @discardableResult
    private func settle() -> Bool {
        let journaled = shared.journaled.load(ordering: .acquiring)
        guard shared.applied.load(ordering: .acquiring) < journaled else { return false }
        let settled = Inbox<Void>()
        guard inbox.post(.settling(settled), weight: SpoolRequest.weight) else { return false }
        _ = settled.take()
        return true
    }

    /// Reads a message that may be on its way into the tables.
    func onceThere<R: ~Copyable>(_ read: () throws(SpoolError) -> R) throws(SpoolError) -> R {
        do throws(SpoolError) {
            return try read()
        } catch {
            guard case .unknownMessage = error, settle() else { throw error }
            return try read()
        }
    }

    /// Does something to all messages of a selection, in slices between batches. Slices that are
    /// done stay done, whatever ends it.
    ///
    /// - Parameters:
    ///   - wanted: asked before each slice; once it says no the rest isn't done (`.stopped`).
    ///   - progress: called after each slice, last with `isFinished`; on the spool thread, or on the
    ///     calling thread when the spool has not been started. While nothing can be written it
    ///     isn't waited for that to end: the operation fails with the error.
    public func perform(
        _ operation: QueueOperation, on selection: QueueSelection,
        while wanted: @escaping @Sendable () -> Bool = { true },
        progress: @escaping @Sendable (OperationProgress) -> Void
    ) {
        let job = OperationJob(operation, selection, while: wanted, progress: progress)
        let isIdle = phase.withLock { phase in
            if case .opened = phase { true } else { false }
        }
        if isIdle {
            job.runAlone(store, sight)
        } else if !inbox.post(.operation(job), weight: SpoolRequest.weight) {
            job.end(.stopped)
        }
    }

    /// The queue in numbers: those of the running schedule, or counted on a stopped server.
    public func statistics() throws(SpoolError) -> SpoolStatistics {
        let isIdle = phase.withLock { phase in
            if case .opened = phase { true } else { false }
        }
        var statistics = shared.statistics.withLock { $0 }
        if isIdle { statistics = try store.countMessages(sight) }
        statistics.unreachable = shared.obstacles.withLock { $0.count }
        statistics.fileOctets = store.fileOctets
        return statistics
    }
}
