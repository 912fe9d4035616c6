public import ElemtaSMTP
import Glibc

/// How a spool is set up. The defaults are those of the configuration.
public struct SpoolOptions: Sendable {
    /// `queue_dir`; made when missing, refused when it is neither empty nor a queue.
    public var path: String
    /// Who makes the reports: Reporting-MTA and the domain of MAILER-DAEMON.
    public var hostname: String
    public var retry: RetryPolicy
    /// Seconds that messages with failed recipients stay to be looked at; 0: not at all.
    public var failedRetention: Int64
    /// Seconds until a delay report, for recipients whose NOTIFY asks; 0: never.
    public var delayWarning: Int64
    /// Octets that must stay free; nil: the smaller of 64 MiB and 2 % of the file system.
    public var minimumFree: UInt64?
    public var allowNetworkFileSystem: Bool
    /// Octets of address space for LMDB; nil: 1 TiB, or 64 GiB where that fails.
    public var mapSize: Int?
    /// Octets of the journal, at most; 0: there is none.
    public var journalLimit: Int
    /// Who looks at the spool after an unclean stop; nil: this process, which damage may end.
    public var checker: SpoolChecker?
    /// Work items that may be out for one destination at a time.
    public var outstandingLimit: Int
    /// The wall clock.
    public var clock: @Sendable () -> UnixTime
    /// Called with what happens, on the spool thread and the journal thread, and by `open` on the thread
    /// that opens; must not block.
    public var events: @Sendable (SpoolEvent) -> Void

    public init(
        path: String, hostname: String, retry: RetryPolicy = RetryPolicy(),
        failedRetention: Int64 = 604_800, delayWarning: Int64 = 14_400,
        minimumFree: UInt64? = nil, allowNetworkFileSystem: Bool = false, mapSize: Int? = nil,
        journalLimit: Int = 4 << 20, checker: SpoolChecker? = nil, outstandingLimit: Int = 2000,
        clock: @escaping @Sendable () -> UnixTime = SpoolOptions.systemClock,
        events: @escaping @Sendable (SpoolEvent) -> Void = { _ in }
    ) {
        self.path = path
        self.hostname = hostname
        self.retry = retry
        self.failedRetention = failedRetention
        self.delayWarning = delayWarning
        self.minimumFree = minimumFree
        self.allowNetworkFileSystem = allowNetworkFileSystem
        self.mapSize = mapSize
        self.journalLimit = journalLimit
        self.checker = checker
        self.outstandingLimit = outstandingLimit
        self.clock = clock
        self.events = events
    }

    var planTerms: PlanTerms {
        PlanTerms(
            retention: failedRetention, maximumQueueTime: retry.maximumQueueTime,
            delayWarning: delayWarning)
    }

    public static func systemClock() -> UnixTime { UnixTime(seconds: Int64(time(nil))) }
}

/// What a spool is opened for.
public enum SpoolPurpose: Sendable {
    /// To take and deliver mail: what isn't there is made.
    case serving
    /// To do something to the messages of a stopped server.
    case changing
    /// To look at the messages of a stopped server, which may start meanwhile: nothing is made or
    /// written but the file in which LMDB notes who reads what.
    case looking
}

/// What the spool has to say; the server logs it.
public enum SpoolEvent: Sendable {
    /// The spool wasn't closed in good order: all of it is looked at before anything else.
    case checking(octets: UInt64)
    /// It is opened to be changed: whoever ends from here on without `Spool.stop` leaves it as stopped
    /// uncleanly.
    case opening
    /// The spool was damaged, and a new one has taken its place.
    case salvaged(SalvageReport)
    /// Nothing is left of this message in a damaged spool.
    case lost(MessageID)
    /// A reader found the spool damaged as a whole; the next start looks at it.
    case suspected(String)
    /// The schedule is back from disk and deliveries begin.
    case recovered(RecoveryReport)
    /// Something unreadable, or something that doesn't belong, was put aside.
    case quarantined(name: String, reason: String)
    /// A batch is on disk, in the journal or in the tables: so many messages that were acknowledged by that, and
    /// results of deliveries; `duration` is that of writing and syncing it.
    case committed(messages: Int, duration: Duration)
    /// There is no journal any more until the next start: each message waits for a commit.
    case journalFailed(String)
    /// Some recipients of a message are tried again at `until`.
    case deferred(MessageID, Destination, recipients: Int, DeliveryStatus, until: UnixTime)
    /// Some recipients of a message have failed for good.
    case failed(MessageID, Destination, recipients: Int, DeliveryStatus)
    /// A report about `about` has been queued. `kinds`: what it says of recipients, in the words of
    /// RFC 3464 2.3.3: failed, delayed, delivered, relayed, expanded.
    case reported(MessageID, about: MessageID, kinds: [String])
    /// A destination can't be reached, or serves nobody: what is for it waits, and one message is
    /// sent to find out then.
    case unreachable(Destination, DeliveryStatus, nextProbe: UnixTime)
    /// It is back, and whatever waited for it is delivered.
    case reachable(Destination)
    /// That many submissions of one batch were refused.
    case refused(Int, SpoolError)
    /// A failed message's time to be kept is over.
    case expired(MessageID)
    /// The reserve was given up so that results could be committed on a full disk.
    case reserveGivenUp
    case reserveFilled
    /// Results of deliveries can't be written at the moment; they are kept in memory.
    case stalled(SpoolError)
    /// They are written again.
    case resumed
    /// The environment was closed after an error and opened anew.
    case reopened(after: String)
}

/// What was found at start.
public struct RecoveryReport: Sendable, Hashable {
    /// Messages in the queue, octets of their content.
    public var messages = 0
    public var octets: UInt64 = 0
    /// Records and files that were put into quarantine.
    public var quarantined = 0
    /// Content files that were never finished, and those of messages that are gone.
    public var removedFiles = 0

    public init() {}
}
