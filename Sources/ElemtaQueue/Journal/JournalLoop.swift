import ElemtaThreads
import Synchronization

/// What is posted to the journal thread.
enum JournalRequest: Sendable {
    case submission(Submission)
    /// The spool is there, and everything that an earlier journal held is in its tables: a new one may be
    /// begun behind entry `applied`.
    case begin(applied: UInt64)
}

/// An entry that the journal has and the tables haven't yet.
struct JournaledSubmission: Sendable {
    let sequence: UInt64
    /// Its sender has been told 250. Nil: a batch that ends with this entry couldn't be synced. It may be there all
    /// the same, and isn't to be brought in by a later start: its messages go another way.
    let submission: Submission?
}

/// The journal thread: makes small messages durable with one sync, which a commit to the tables would
/// take two for, and passes them on to the spool thread, which brings them there many at a time.
///
/// What it can't take goes to the spool thread at once, and is acknowledged by the commit there: messages that
/// are large, all while there is trouble or too little room.
final class JournalLoop {
    private let inbox: Inbox<JournalRequest>
    private let spool: Inbox<SpoolRequest>
    private let path: String
    private let limit: Int
    private let shared: SpoolShared
    private let acknowledge: @Sendable ([Acknowledgement]) -> Void
    private let events: @Sendable (SpoolEvent) -> Void

    private var file: JournalFile?
    private var next: UInt64 = 1
    private var batch = JournalBatch()
    private var journaled: [(sequence: UInt64, submission: Submission)] = []

    /// Larger content is written once: the second sync costs less than writing it twice.
    static let contentAtMost = 32 << 10
    /// Octets of one sync.
    private static let batchAtMost = 256 << 10

    init(
        inbox: Inbox<JournalRequest>, spool: Inbox<SpoolRequest>, options: SpoolOptions,
        shared: SpoolShared, acknowledge: @escaping @Sendable ([Acknowledgement]) -> Void
    ) {
        self.inbox = inbox
        self.spool = spool
        path = options.path
        limit = options.journalLimit
        self.shared = shared
        self.acknowledge = acknowledge
        events = options.events
    }

    /// Runs until the inbox is closed and everything taken from it is on disk or with the spool thread.
    func run() {
        while true {
            // Woken by the first submission of many: taking the processor from the reactor for it would
            // mean a sync for one message, and none of the others read meanwhile.
            Scheduling.batch.apply()
            guard case .elements(let requests) = inbox.take() else { break }
            Scheduling.usual.apply()
            for request in requests {
                switch request {
                case .submission(let submission): take(submission)
                case .begin(let applied): begin(behind: applied)
                }
            }
            writeBatch()
        }
    }

    private func begin(behind applied: UInt64) {
        do throws(FileError) {
            file = try JournalFile.begin(in: path, limit: limit, applied: applied)
            next = applied + 1
        } catch {
            events(.journalFailed(error.description))
        }
    }

    private func take(_ submission: Submission) {
        guard file != nil, shared.isJournaling.load(ordering: .relaxed),
            case .inMemory(let content) = submission.content,
            content.octetCount <= Self.contentAtMost,
            submission.envelope.reportsAtArrival.isEmpty
        else { return pass(submission) }
        add(submission, content)
        if batch.count >= Self.batchAtMost { writeBatch() }
    }

    private func add(_ submission: Submission, _ content: any SpoolContent) {
        guard let key = file?.key else { return pass(submission) }
        do throws(SpoolError) {
            let sequence = next + UInt64(journaled.count)
            try batch.add(submission.envelope, content, sequence, key: key)
            journaled.append((sequence, submission))
        } catch {
            // The spool thread refuses it.
            pass(submission)
        }
    }

    private func pass(_ submission: Submission) {
        spool.post(.submission(submission), weight: SpoolRequest.weight)
    }

    private func writeBatch() {
        guard !journaled.isEmpty else { return }
        let started = ContinuousClock.now
        batch.fillPage()
        let result = write()
        batch.reset()
        let journaled = journaled
        self.journaled = []
        switch result {
        case .written:
            next += UInt64(journaled.count)
            tell(journaled)
            events(.committed(messages: journaled.count, duration: ContinuousClock.now - started))
        case .full:
            for element in journaled { pass(element.submission) }
        case .failed(let error):
            // First: what the commit refuses must not come back with the next start.
            let last = next + UInt64(journaled.count) - 1
            spool.post(.journaled([JournaledSubmission(sequence: last, submission: nil)]))
            for element in journaled { pass(element.submission) }
            events(.journalFailed(error.description))
        }
    }

    /// They are on disk: from here on it has happened.
    private func tell(_ journaled: [(sequence: UInt64, submission: Submission)]) {
        shared.journaled.store(next - 1, ordering: .releasing)
        // First to the spool: who has heard 250 and asks finds the message.
        spool.post(
            .journaled(
                journaled.map {
                    JournaledSubmission(sequence: $0.sequence, submission: $0.submission)
                }), weight: SpoolRequest.journaledWeight)
        acknowledge(
            journaled.map {
                Acknowledgement(
                    token: $0.submission.token, result: .success($0.submission.envelope.id))
            })
    }

    private enum WriteResult {
        case written
        /// There is no room before more of it is in the tables.
        case full
        case failed(FileError)
    }

    private func write() -> WriteResult {
        do throws(FileError) {
            let applied = shared.applied.load(ordering: .acquiring)
            return try file?.append(batch, applied: applied) == true ? .written : .full
        } catch {
            // A sync that failed is not tried again, and nothing more is written behind it.
            file = nil
            return .failed(error)
        }
    }
}
