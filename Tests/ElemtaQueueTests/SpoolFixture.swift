import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization
import Testing

@testable import ElemtaQueue

/// A directory of a test's own, gone with it.
final class TestDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/elemta-queue-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer in
            unsafe buffer.baseAddress.flatMap { unsafe mkdtemp($0) } != nil
        }
        try #require(made)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    var queue: String { path + "/queue" }

    private static func remove(_ path: String) {
        for name in (try? FileSystem.names(in: path)) ?? [] {
            let inner = "\(path)/\(name)"
            if unsafe unlink(inner) != 0 { remove(inner) }
        }
        unsafe rmdir(path)
    }

    /// Every file below `folder`, by name.
    func files(in folder: String) -> [String] {
        ((try? FileSystem.names(in: "\(queue)/\(folder)")) ?? []).sorted()
    }
}

/// The program `spool-load`, which lies beside the tests.
var spoolLoad: String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe buffer.withUnsafeMutableBytes { buffer in
        unsafe buffer.baseAddress.map { base in
            unsafe readlink(
                "/proc/self/exe", base.assumingMemoryBound(to: CChar.self), buffer.count)
        } ?? 0
    }
    let path = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    return path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/spool-load"
}

/// A clock that a test sets.
final class TestClock: Sendable {
    private let seconds = Mutex<Int64>(1_700_000_000)

    var now: UnixTime {
        get { UnixTime(seconds: seconds.withLock { $0 }) }
        set { seconds.withLock { $0 = newValue.seconds } }
    }
}

/// Takes the work and lets the test wait for it. Mail for x.example goes to "smtp:x.example", with
/// the demand behind it where there is one.
final class TestDispatch: DeliveryDispatch {
    let handedOut = Inbox<[WorkItem]>()

    func destination(for recipient: ForwardPath, demand: TransportDemand) -> Destination {
        let suffix = demand == .none ? "" : " (\(demand))"
        return switch recipient {
        case .postmaster: Destination(name: "smtp:postmaster\(suffix)")
        case .mailbox(let mailbox): Destination(name: "smtp:\(mailbox.domain)\(suffix)")
        }
    }

    func deliver(_ work: [WorkItem]) { handedOut.post(work) }
}

/// A spool, its clock, what it hands out and what it says.
final class SpoolFixture: Sendable {
    let directory: TestDirectory
    let spool: Spool
    let clock: TestClock
    let dispatch = TestDispatch()
    let answers = Inbox<[Acknowledgement]>()
    let events = Inbox<SpoolEvent>()
    private let seen = Mutex<[SpoolEvent]>([])

    init(
        _ directory: TestDirectory, clock: TestClock = TestClock(), isStarted: Bool = true,
        _ adjust: (inout SpoolOptions) -> Void = { _ in }
    ) throws {
        self.directory = directory
        self.clock = clock
        let events = events
        var options = SpoolOptions(
            path: directory.queue, hostname: "mail.example.com", failedRetention: 0,
            minimumFree: 0, mapSize: 1 << 30, clock: { clock.now },
            events: { events.post($0) })
        adjust(&options)
        spool = try Spool.open(options)
        if isStarted { try start() }
    }

    func start() throws {
        let answers = answers
        try spool.start(acknowledge: { answers.post($0) }, dispatch: dispatch)
    }

    /// Moves time on and has the spool notice.
    func pass(_ seconds: Int64) {
        clock.now = clock.now + seconds
        // An operation on nothing: the spool thread looks at the clock before it takes it.
        spool.perform(.release, on: .ids([])) { _ in }
    }

    func envelope(
        from sender: String = "sender@client.example",
        to recipients: [String] = ["one@a.example"],
        _ adjust: (inout MailTransaction) -> Void = { _ in }
    ) throws -> Envelope {
        var transaction = MailTransaction(
            reversePath: Mailbox(sender).map(ReversePath.mailbox) ?? .null,
            recipients: try recipients.map {
                AcceptedRecipient(path: .mailbox(try #require(Mailbox($0))))
            })
        adjust(&transaction)
        return Envelope(
            id: spool.ids.next(), arrival: clock.now,
            client: ClientTrace(
                heloName: Array("client.example".utf8), address: IPAddress("192.0.2.7"),
                protocolName: "ESMTP"),
            transaction: transaction, summary: ContentSummary(octetCount: 10))
    }

    /// Accepts a message and waits for its acknowledgement.
    @discardableResult
    func accept(_ envelope: Envelope, _ content: [UInt8]) throws -> MessageID {
        spool.accept(
            Submission(
                token: envelope.id.rawValue, envelope: envelope,
                content: .inMemory(ContentOctets(content))))
        return try #require(try answer()).result.get()
    }

    @discardableResult
    func accept(
        _ text: String = "Subject: hello\r\n\r\nbody\r\n", to: [String] = ["one@a.example"]
    ) throws -> MessageID {
        try accept(try envelope(to: to), Array(text.utf8))
    }

    /// Accepts a message and waits until it isn't in the journal alone.
    func acceptIntoTables() throws {
        let id = try accept()
        _ = try spool.show(id)
    }

    /// Waits for acknowledgements.
    func allAnswers() throws -> [Acknowledgement] {
        guard case .elements(let batches) = answers.take(within: .seconds(20)) else {
            throw SpoolError.stopped
        }
        return batches.flatMap { $0 }
    }

    /// The next single acknowledgement.
    func answer() throws -> Acknowledgement? {
        let all = try allAnswers()
        try #require(all.count == 1)
        return all.first
    }

    /// Waits until `count` items have been handed out.
    func work(_ count: Int = 1) throws -> [WorkItem] {
        var items: [WorkItem] = []
        while items.count < count {
            guard case .elements(let lists) = dispatch.handedOut.take(within: .seconds(20)) else {
                break
            }
            items += lists.flatMap { $0 }
        }
        try #require(items.count == count)
        return items
    }

    /// Waits until anything is handed out.
    func anyWork() throws -> [WorkItem] {
        guard case .elements(let lists) = dispatch.handedOut.take(within: .seconds(20)) else {
            throw SpoolError.stopped
        }
        return lists.flatMap { $0 }
    }

    /// Waits for an event that `choose` wants; those before it are dropped.
    func event<R>(_ choose: (SpoolEvent) -> R?) throws -> R {
        while true {
            let chosen = seen.withLock { seen -> R? in
                while !seen.isEmpty {
                    if let chosen = choose(seen.removeFirst()) { return chosen }
                }
                return nil
            }
            if let chosen { return chosen }
            guard case .elements(let list) = events.take(within: .seconds(20)) else {
                throw SpoolError.stopped
            }
            seen.withLock { $0 += list }
        }
    }

    func answer(_ item: WorkItem, _ result: RecipientResult) {
        spool.record([DeliveryOutcome(item, .all(result))])
    }
}

extension StoredMessage {
    /// The content, wherever it is.
    var octets: [UInt8] {
        get throws {
            switch content {
            case .memory(let octets): return octets
            case .file(let place):
                let file = try OpenFile(place.path, O_RDONLY)
                return try file.read(Int(place.octetCount), at: Int(place.offset))
            }
        }
    }
}

func readFile(_ path: String) throws -> [UInt8] {
    let file = try OpenFile(path, O_RDONLY)
    let size = try file.size
    return try file.read(size, at: 0)
}

/// Writes over what is there from the beginning.
func writeFile(_ octets: [UInt8], _ path: String) throws {
    let file = try OpenFile(path, O_WRONLY | O_CREAT)
    try file.write(octets.span)
}

/// Octets in which no two places look alike.
func pattern(_ count: Int) -> [UInt8] {
    var state: UInt32 = 1
    return (0..<count).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(state >> 24)
    }
}

final class TestCounter: Sendable {
    private let value = Mutex(0)

    func next() -> Int {
        value.withLock { value in
            defer { value += 1 }
            return value
        }
    }
}

/// The process's descriptors of a file.
func descriptors(of path: String) throws -> [Int32] {
    try FileSystem.names(in: "/proc/self/fd").compactMap { Int32($0) }.filter { number in
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe buffer.withUnsafeMutableBytes { buffer in
            unsafe buffer.baseAddress.map { base in
                unsafe readlink(
                    "/proc/self/fd/\(number)", base.assumingMemoryBound(to: CChar.self),
                    buffer.count)
            } ?? -1
        }
        return count > 0 && String(decoding: buffer[..<count], as: UTF8.self) == path
    }.sorted()
}

/// Says that it has another size than it has.
final class Liar: SpoolContent {
    let octetCount: Int
    private let octets: [UInt8]

    init(claiming count: Int, having actual: Int) {
        octetCount = count
        octets = pattern(actual)
    }

    func forEachSegment(_ body: (Span<UInt8>) -> Void) {
        for start in stride(from: 0, to: octets.count, by: 700) {
            let segment = Array(octets[start..<min(start + 700, octets.count)])
            body(segment.span)
        }
    }
}
