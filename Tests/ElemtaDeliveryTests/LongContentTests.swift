import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Testing

@testable import ElemtaDelivery

/// Content in the database that is read block by block while it is sent.
struct LongContentTests {
    /// Octets of content in one of the spool's pieces, and pieces in a block.
    private static let piece = 4048
    private static let block = 16 * piece
    private static let count = 200_000

    /// Takes no work: what the spool has stays there.
    private final class Nobody: DeliveryDispatch {
        func destination(
            for recipient: ForwardPath, demand: TransportDemand
        ) -> Destination { Destination(name: "nobody") }

        func deliver(_ work: [WorkItem]) {}
    }

    /// A spool in a directory, and what it says.
    private struct Queue {
        let spool: Spool
        let events = Inbox<SpoolEvent>()
        private let acknowledged = Inbox<Acknowledgement>()

        init(_ directory: TemporaryDirectory, _ dispatch: any DeliveryDispatch) throws {
            spool = try Spool.open(Self.options(directory, events))
            try start(dispatch)
        }

        init(_ directory: TemporaryDirectory, _ service: DeliveryService) throws {
            spool = try Spool.open(Self.options(directory, events))
            try service.start(spool: spool)
            try start(service)
        }

        private static func options(
            _ directory: TemporaryDirectory, _ events: Inbox<SpoolEvent>
        ) -> SpoolOptions {
            SpoolOptions(
                path: directory.path + "/queue", hostname: "mail.example.org",
                events: { events.post($0) })
        }

        private func start(_ dispatch: any DeliveryDispatch) throws {
            let acknowledged = acknowledged
            try spool.start(
                acknowledge: { $0.forEach { acknowledged.post($0) } }, dispatch: dispatch)
        }

        /// On disk when it returns.
        func accept(_ content: [UInt8]) throws {
            let transaction = MailTransaction(
                reversePath: .null,
                recipients: [
                    AcceptedRecipient(path: .mailbox(try #require(Mailbox("a@example.com"))))
                ])
            let envelope = Envelope(
                id: spool.ids.next(), arrival: SpoolOptions.systemClock(), client: ClientTrace(),
                transaction: transaction,
                summary: ContentSummary(octetCount: UInt64(content.count)))
            spool.accept(
                Submission(
                    token: 0, envelope: envelope, content: .inMemory(ContentOctets(content))))
            _ = try #require(acknowledged.takeOne()).result.get()
        }
    }

    private func service(
        to server: ScriptedServer, _ events: Inbox<DeliveryEvent>
    ) throws -> DeliveryService {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        let target = "smtp://127.0.0.1:\(server.address.port)"
        settings.routes = [DeliveryRoute(.all, try #require(DeliveryRoute.Target(target)))]
        settings.maximumConnectionsPerDestination = 1
        return DeliveryService(settings) { events.post($0) }
    }

    /// A lone dot on its line lies across the border of every piece, and so of every block, another
    /// part of it each time.
    private static func dotted(shift: Int) -> [UInt8] {
        var octets = [UInt8](repeating: UInt8(ascii: "a"), count: count)
        let line = Array("\r\n.\r\n..".utf8)
        for border in 1...count / piece {
            let start = border * piece - (border + shift) % line.count
            octets.replaceSubrange(start..<start + line.count, with: line)
        }
        octets[0] = UInt8(ascii: ".")
        octets.replaceSubrange((count - 2)..., with: [13, 10])
        return octets
    }

    @Test(
        "Long content arrives octet by octet, by DATA and by BDAT",
        arguments: [["PIPELINING"], ["PIPELINING", "CHUNKING"]])
    func dots(offer: [String]) throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let server = try ScriptedServer(ScriptedServer.polite(offer))
        let contents = (0..<7).map { Self.dotted(shift: $0) }
        let events = Inbox<DeliveryEvent>()
        let service = try service(to: server, events)
        let queue = try Queue(directory, service)
        for content in contents {
            try queue.accept(content)
            #expect(try #require(events.takeOne()).outcome == .delivered)
        }
        service.stop(grace: .seconds(10))
        queue.spool.stop()
        let messages = server.record.messages
        #expect(messages.map(\.count) == contents.map(\.count))
        #expect(messages == contents)
        let verbs = Set(server.record.dialogues.joined().map { $0.prefix(4) })
        #expect(verbs.contains("BDAT") == offer.contains("CHUNKING"))
        #expect(verbs.contains("DATA") != offer.contains("CHUNKING"))
    }

    /// Letters of which no forty are the same as others.
    private static let letters: [UInt8] = {
        var state: UInt32 = 1
        return (0..<count - 2).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(ascii: "a") + UInt8((state >> 24) % 26)
        } + [13, 10]
    }()

    /// Changes an octet wherever these stand in the file.
    private func damage(_ path: String, at octets: ArraySlice<UInt8>) throws {
        let file = unsafe open(path, O_RDWR)
        try #require(file >= 0)
        defer { close(file) }
        var content = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
        // Safe because the buffer is the array's own.
        let read = unsafe content.withUnsafeMutableBytes {
            unsafe pread(file, $0.baseAddress, $0.count, 0)
        }
        try #require(read == content.count)
        var place = content.firstRange(of: octets)?.lowerBound
        try #require(place != nil)
        while let found = place {
            var octet = content[found] ^ 1
            try #require(unsafe pwrite(file, &octet, 1, found) == 1)
            place = content[(found + 1)...].firstRange(of: octets)?.lowerBound
        }
    }

    @Test(
        "A piece that turns out to be damaged in the middle breaks the delivery off",
        arguments: [["PIPELINING"], ["PIPELINING", "CHUNKING"]])
    func damageInTheMiddle(offer: [String]) throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        do {
            let queue = try Queue(directory, Nobody())
            try queue.accept(Self.letters)
            queue.spool.stop()
        }
        // In the third block, within a piece.
        let start = 2 * Self.block + 3 * Self.piece + 100
        try damage(directory.path + "/queue/spool.mdb", at: Self.letters[start..<start + 40])

        let server = try ScriptedServer(ScriptedServer.polite(offer))
        let events = Inbox<DeliveryEvent>()
        let service = try service(to: server, events)
        let queue = try Queue(directory, service)
        let event = try #require(events.takeOne())
        #expect(event.outcome == .deferred)
        #expect(event.status.enhancedStatus == EnhancedStatus(.persistentTransientFailure, 3, 0))
        var aside: SpoolEvent?
        while aside == nil, let event = queue.events.takeOne() {
            if case .quarantined(_, let reason) = event {
                #expect(reason.hasPrefix("piece 35: "))
                aside = event
            }
        }
        #expect(try queue.spool.list().messages.isEmpty)
        service.stop(grace: .seconds(10))
        queue.spool.stop()
        // It began, and never was a message.
        let commands = server.record.dialogues.joined()
        #expect(commands.contains { $0.hasPrefix("DATA") || $0.hasPrefix("BDAT") })
        #expect(server.record.messages.isEmpty)
    }
}
