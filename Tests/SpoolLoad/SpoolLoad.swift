// Drives a spool from outside of a test: as a process that can be killed, and to measure.
//
//   spool-load measure DIRECTORY CONCURRENCY MESSAGES OCTETS [keep]
//   spool-load check DIRECTORY      looks at a spool, as the server's child process does
//   spool-load accept DIRECTORY     until killed; prints each id once it is acknowledged,
//                                   and before its delivery is recorded
import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization

/// Answers every item with "delivered", on a thread of its own.
final class Sink: DeliveryDispatch {
    let work = Inbox<[WorkItem]>()
    private let name = Destination(name: "discard")

    func destination(for recipient: ForwardPath, demand: TransportDemand) -> Destination { name }
    func deliver(_ items: [WorkItem]) { work.post(items) }

    func serve(_ spool: Spool, _ note: ([WorkItem]) -> Void) {
        while case .elements(let lists) = work.take() {
            for items in lists {
                note(items)
                spool.record(
                    items.map { DeliveryOutcome($0, .all(.delivered(DeliveryStatus(code: 250)))) })
            }
        }
    }
}

func envelope(_ spool: Spool, _ transaction: MailTransaction, _ octets: Int) -> Envelope {
    Envelope(
        id: spool.ids.next(), arrival: SpoolOptions.systemClock(),
        client: ClientTrace(
            heloName: Array("client.example.com".utf8), address: IPAddress(v4: 0xC000_0207),
            protocolName: "ESMTP"),
        transaction: transaction, summary: ContentSummary(octetCount: UInt64(octets)))
}

func seconds(_ clock: clockid_t) -> Double {
    var now = timespec()
    unsafe clock_gettime(clock, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

func say(_ text: String) {
    let octets = Array(text.utf8)
    // Safe because the buffer is only read during the call. One write per line: a kill cuts between.
    unsafe octets.withUnsafeBytes { _ = unsafe write(1, $0.baseAddress, $0.count) }
}

@main struct SpoolLoad {
    static func main() throws {
        let arguments = CommandLine.arguments
        if arguments.count == 3, arguments[1] == "check" {
            exit(SpoolCheck.run(queue: arguments[2]))
        }
        guard arguments.count >= 3, let sender = Mailbox("sender@client.example.com"),
            let recipient = Mailbox("someone@destination.example.net")
        else {
            say("usage: spool-load measure|accept DIRECTORY ...\n")
            exit(64)
        }
        let transaction = MailTransaction(
            reversePath: .mailbox(sender),
            recipients: [AcceptedRecipient(path: .mailbox(recipient))])
        let options = SpoolOptions(path: arguments[2], hostname: "mail.example.com")
        let spool = try Spool.open(options)
        switch arguments[1] {
        case "measure":
            try measure(
                spool, options, transaction, concurrency: Int(arguments[3]) ?? 100,
                messages: Int(arguments[4]) ?? 100_000, octets: Int(arguments[5]) ?? 1024,
                keeps: arguments.count > 6)
        default: try accept(spool, transaction)
        }
    }

    /// As many submitters as `concurrency`, each with one message under way.
    static func measure(
        _ spool: Spool, _ options: SpoolOptions, _ transaction: MailTransaction,
        concurrency: Int, messages: Int, octets: Int, keeps: Bool
    ) throws {
        let content = ContentOctets([UInt8](repeating: 0x78, count: octets))
        let written = writtenOctets()
        var waits: [Double] = []
        waits.reserveCapacity(messages)
        let acknowledged = Inbox<[Acknowledgement]>()
        let processor = Mutex((first: 0.0, last: 0.0, commits: 0))
        let sink = Sink()
        try spool.start(
            acknowledge: { batch in
                processor.withLock { times in
                    times.last = seconds(CLOCK_THREAD_CPUTIME_ID)
                    if times.commits == 0 { times.first = times.last }
                    times.commits += 1
                }
                acknowledged.post(batch)
            }, dispatch: sink)
        let worker = try NamedThread("sink") {
            keeps ? nothing(sink) : sink.serve(spool) { _ in }
        }
        func submit() {
            spool.accept(
                Submission(
                    token: UInt64(seconds(CLOCK_MONOTONIC) * 1e9),
                    envelope: envelope(spool, transaction, octets), content: .inMemory(content)))
        }
        let begin = seconds(CLOCK_MONOTONIC)
        for _ in 0..<concurrency { submit() }
        var done = 0
        var refused = 0
        while done < messages, case .elements(let batches) = acknowledged.take() {
            for batch in batches {
                for answer in batch {
                    done += 1
                    waits.append(seconds(CLOCK_MONOTONIC) * 1000 - Double(answer.token) / 1e6)
                    if case .failure = answer.result { refused += 1 }
                    if done + concurrency <= messages { submit() }
                }
            }
        }
        let elapsed = seconds(CLOCK_MONOTONIC) - begin
        spool.stop()
        sink.work.close()
        worker.join()
        let times = processor.withLock { $0 }
        let perMessage = (times.last - times.first) / Double(messages) * 1e6
        waits.sort()
        func percentile(_ share: Double) -> Double { waits[Int(Double(waits.count - 1) * share)] }
        // What was delivered and removed is in it: the spool has been closed.
        let octetsWritten = writtenOctets() - written
        say(
            "{\"rate\": \(Double(messages) / elapsed), \"p50_ms\": \(percentile(0.5)), "
                + "\"p99_ms\": \(percentile(0.99)), \"octets\": \(messages * octets), "
                + "\"written\": \(octetsWritten), \"refused\": \(refused), "
                + "\"spool_thread_us\": \(perMessage), "
                + "\"messages_a_commit\": \(messages / max(times.commits, 1))}\n")
        if keeps { try remember(options, messages) }
    }

    /// What the schedule of a queue that nobody empties costs: opened again by this process, its
    /// own memory before and after.
    static func remember(_ options: SpoolOptions, _ messages: Int) throws {
        let recovered = Inbox<RecoveryReport>()
        var options = options
        options.events = { event in
            if case .recovered(let report) = event { recovered.post(report) }
        }
        let again = try Spool.open(options)
        let before = ownMemory()
        let begin = seconds(CLOCK_MONOTONIC)
        try again.start(acknowledge: { _ in }, dispatch: Sink())
        _ = recovered.takeOne()
        let elapsed = Int((seconds(CLOCK_MONOTONIC) - begin) * 1000)
        let octets = (ownMemory() - before) / messages
        say("\(messages) messages: schedule back in \(elapsed) ms, \(octets) octets each\n")
        again.stop()
    }

    /// Octets of anonymous memory, which leaves out the pages of the map.
    static func ownMemory() -> Int { number("RssAnon:", in: "/proc/self/status") * 1024 }

    /// Octets that this process has had written to the disk.
    static func writtenOctets() -> Int { number("write_bytes:", in: "/proc/self/io") }

    /// The number behind a name in one of the kernel's tables.
    static func number(_ name: String, in table: String) -> Int {
        guard let file = unsafe fopen(table, "r") else { return 0 }
        defer { unsafe fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while unsafe fgets(&line, 256, file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
            guard text.hasPrefix(name) else { continue }
            return Int(text.filter(\.isNumber)) ?? 0
        }
        return 0
    }

    static func nothing(_ sink: Sink) {
        while case .elements = sink.work.take() {}
    }

    static func accept(_ spool: Spool, _ transaction: MailTransaction) throws {
        let acknowledged = Inbox<[Acknowledgement]>()
        let sink = Sink()
        try spool.start(acknowledge: { acknowledged.post($0) }, dispatch: sink)
        let worker = try NamedThread("sink") {
            sink.serve(spool) { items in
                say(items.map { "delivered \($0.id)\n" }.joined())
            }
        }
        var number = 0
        func submit() throws(SpoolError) {
            number += 1
            // Every kind of content: beside the envelope, in pieces, in a file.
            let count = [500, 10_000, 200_000][number % 50 == 0 ? 2 : number % 2]
            let octets = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: count)
            let envelope = envelope(spool, transaction, count)
            guard count > 65536 else {
                spool.accept(
                    Submission(
                        token: 0, envelope: envelope, content: .inMemory(ContentOctets(octets))))
                return
            }
            let file = spool.contentFile(for: envelope)
            try file.begin()
            try file.append(octets.span)
            spool.accept(
                Submission(token: 0, envelope: envelope, content: .file(try file.finish())))
        }
        for _ in 0..<20 { try submit() }
        while case .elements(let batches) = acknowledged.take() {
            for answer in batches.flatMap({ $0 }) {
                if case .success(let id) = answer.result { say("accepted \(id)\n") }
                try submit()
            }
        }
        worker.join()
    }
}
