import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Synchronization
import Testing

@testable import ElemtaDelivery

struct MaildirTests {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    private func service(
        _ template: String, _ store: MemoryStore, events: Lines = Lines()
    ) throws -> DeliveryService {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.dnsServers = ["127.0.0.1:1"]
        settings.routes = [
            DeliveryRoute(.all, try #require(DeliveryRoute.Target("maildir://\(template)")))
        ]
        let service = DeliveryService(settings) { event in
            let recipient = event.recipient.map { "\($0) " } ?? ""
            events.all.withLock { $0.append("\(recipient)\(event.outcome)") }
        }
        try service.start(store: store)
        return service
    }

    private func names(_ path: String) -> [String] {
        ((try? FileSystem.names(in: path)) ?? []).sorted()
    }

    private func text(_ path: String) throws -> String {
        let file = try OpenFile(path, O_RDONLY)
        return String(decoding: try file.read(1 << 20, at: 0), as: UTF8.self)
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        unsafe lstat(path, &status)
        return status.st_mode & 0o777
    }

    @Test func aMessageIsInTheMaildirOfEachRecipient() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let store = MemoryStore()
        let lines = Lines()
        let template = "\(folder.path)/{domain}/{local}"
        let service = try service(template, store, events: lines)
        let content = Array("Subject: x\r\n\r\n.\r\na\rb\nc\r\r\nend".utf8)
        service.deliver([
            try store.add(
                1, to: ["a@example.com", "B@example.com", "\"\"@example.com"],
                content: .memory(content), destination: "maildir:\(template)")
        ])
        let outcome = try #require(try store.take(1).first)
        service.stop(grace: .zero)
        #expect(outcome.summary == "0: delivered 2.0.0, 1: delivered 2.0.0, 2: failed 5.1.1")
        #expect(
            lines.all.withLock { $0 }.sorted() == [
                "<\"\"@example.com> failed", "<B@example.com> delivered",
                "<a@example.com> delivered",
            ])
        for (name, address) in [("a", "a@example.com"), ("b", "B@example.com")] {
            let maildir = "\(folder.path)/example.com/\(name)"
            #expect(names(maildir) == ["cur", "new", "tmp"])
            #expect(names("\(maildir)/tmp").isEmpty)
            for part in ["", "/cur", "/new", "/tmp"] { #expect(mode(maildir + part) == 0o700) }
            let file = try #require(names("\(maildir)/new").first)
            #expect(mode("\(maildir)/new/\(file)") == 0o600)
            #expect(
                try text("\(maildir)/new/\(file)")
                    == "Return-Path: <sender@example.org>\nDelivered-To: \(address)\n"
                    + "Subject: x\n\n.\na\rb\nc\r\nend\n")
        }
    }

    @Test func contentInAFileArrivesWhole() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let octets = Array(repeating: Array("0123456\r\n".utf8), count: 60_000).flatMap { $0 }
        let file = try TemporaryFile(octets)
        let store = MemoryStore()
        let template = "\(folder.path)/{local}"
        let service = try service(template, store)
        let whole = MemoryStore.Content.file(path: file.path, offset: 9, count: 540_000 - 9)
        let cut = MemoryStore.Content.file(path: file.path, offset: 0, count: 540_001)
        service.deliver([
            try store.add(
                1, to: ["a@x.example"], content: whole, destination: "maildir:\(template)"),
            try store.add(2, to: ["b@x.example"], content: cut, destination: "maildir:\(template)"),
        ])
        let outcomes = try store.take(2).map { "\($0.id.rawValue) \($0.summary)" }.sorted()
        service.stop(grace: .zero)
        // A file that is shorter than the message was isn't the message.
        #expect(outcomes == ["1 0: delivered 2.0.0", "2 0: deferred 4.3.0"])
        let name = try #require(names("\(folder.path)/a/new").first)
        let text = try text("\(folder.path)/a/new/\(name)")
        #expect(text.hasSuffix(String(repeating: "0123456\n", count: 59_999)))
        #expect(text.utf8.count(where: { $0 == 0x0A }) == 59_999 + 2)
        #expect(names("\(folder.path)/b/new").isEmpty && names("\(folder.path)/b/tmp").isEmpty)
    }

    @Test func withoutItsRootNothingIsMadeAndMailWaits() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let store = MemoryStore()
        let template = "\(folder.path)/mount/{local}"
        let service = try service(template, store)
        let item = try store.add(1, to: ["a@x.example"], destination: "maildir:\(template)")
        service.deliver([item])
        let outcome = try #require(try store.take(1).first)
        #expect(outcome.isUnreached)
        #expect(outcome.summary == "deferred 4.3.5")
        #expect(names(folder.path).isEmpty)
        try FileSystem.makeDirectory("\(folder.path)/mount")
        service.deliver([item])
        #expect(try store.take(1).map(\.summary) == ["0: delivered 2.0.0"])
        service.stop(grace: .zero)
    }

    @Test func aMaildirThatIsTakenAwayIsMadeAgain() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let store = MemoryStore()
        let template = "\(folder.path)/{local}"
        let service = try service(template, store)
        for number in 1...2 as ClosedRange<UInt64> {
            service.deliver([
                try store.add(number, to: ["a@x.example"], destination: "maildir:\(template)")
            ])
            #expect(try store.take(1).map(\.summary) == ["0: delivered 2.0.0"])
            #expect(names("\(folder.path)/a/new").count == 1)
            TemporaryDirectory.remove("\(folder.path)/a")
        }
        service.stop(grace: .zero)
    }

    @Test func whatSomebodyLeftInTmpIsSweptAfterADayAndAHalf() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        for path in ["/a", "/a/tmp"] { try FileSystem.makeDirectory(folder.path + path) }
        let now = time(nil)
        for (name, age) in [("old", MaildirFolders.temporaryAge + 60), ("young", 3_600)] {
            let path = "\(folder.path)/a/tmp/\(name)"
            _ = try OpenFile(path, O_WRONLY | O_CREAT)
            var times = [timeval](repeating: timeval(tv_sec: now - age, tv_usec: 0), count: 2)
            // Safe because there are two, as utimes wants.
            #expect(unsafe utimes(path, &times) == 0)
        }
        _ = try MaildirFolders().prepare(["a"], below: folder.path)
        #expect(names("\(folder.path)/a/tmp") == ["young"])
    }

    @Test func namesAreUniqueAndHaveNoSignsThatMeanSomething() {
        let names = MaildirNames(hostname: "a/b:c")
        let all = (0..<1_000).map { _ in names.next() }
        #expect(Set(all).count == 1_000)
        #expect(all.allSatisfy { $0.hasSuffix(".a\\057b\\072c") && !$0.contains("/") })
        #expect(all.allSatisfy { $0.split(separator: ".").count == 3 })
    }

    @Test func whatIsNotBegunWhenTheServerStopsIsNotTried() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let store = MemoryStore()
        let template = "\(folder.path)/{local}"
        let service = try service(template, store)
        let items = try (1...200).map {
            try store.add($0, to: ["a@x.example"], destination: "maildir:\(template)")
        }
        service.deliver(items)
        service.stop(grace: .zero)
        let summaries = try store.take(200).map(\.summary)
        let delivered = summaries.count { $0 == "0: delivered 2.0.0" }
        #expect(delivered + summaries.count { $0 == "not attempted" } == 200)
        #expect(names("\(folder.path)/a/new").count == delivered)
    }

    @Test func amongManyRecipientsTheServerStopsBetweenTwo() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let template = "\(folder.path)/{local}"
        let first = Inbox<Void>()
        let goOn = Inbox<Void>()
        let hasBegun = Atomic(false)
        let store = MemoryStore()
        let delivery = try MaildirDelivery(
            store: store, ownDomain: try #require(Domain("mail.example.org"))
        ) { _ in
            guard !hasBegun.exchange(true, ordering: .relaxed) else { return }
            _ = first.post(())
            _ = goOn.takeOne()
        }
        let recipients = (0..<2_000).map { "u\($0)@x.example" }
        delivery.deliver([try store.add(1, to: recipients, destination: "maildir:\(template)")])
        _ = first.takeOne()
        _ = goOn.post(())
        delivery.stop()
        let outcome = try #require(try store.take(1).first)
        guard case .each(let results) = outcome.results else {
            Issue.record("\(outcome.results)")
            return
        }
        // Who isn't named is not attempted; who got it is.
        #expect((1..<2_000).contains(results.count))
        #expect(results.allSatisfy { $0.result.summary == "delivered 2.0.0" })
        #expect(names(folder.path) == results.map { "u\($0.recipient)" }.sorted())
    }

    @Test func manyRecipientsAreAnsweredInPortions() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let template = "\(folder.path)/{local}"
        let store = MemoryStore()
        let delivery = try MaildirDelivery(
            store: store, ownDomain: try #require(Domain("mail.example.org")),
            portion: .init(recipients: 2, time: .zero)
        ) { _ in }
        let recipients = (0..<5).map { "u\($0)@x.example" }
        let item = try store.add(1, to: recipients, destination: "maildir:\(template)")
        delivery.deliver([item])
        #expect(
            try store.take(1).map(\.summary) == ["0: delivered 2.0.0, 1: delivered 2.0.0"])
        #expect(names(folder.path) == ["u0", "u1"])
        // The queue offers the rest again.
        delivery.deliver([
            WorkItem(
                id: item.id, destination: item.destination, octets: item.octets,
                recipients: .indices([2, 3, 4]))
        ])
        #expect(
            try store.take(1).map(\.summary) == ["2: delivered 2.0.0, 3: delivered 2.0.0"])
        delivery.stop()
        #expect(names(folder.path) == ["u0", "u1", "u2", "u3"])
    }

    @Test func aRouteSaysWhatStandsInItsWay() throws {
        let folder = try TemporaryDirectory()
        defer { folder.remove() }
        let file = try TemporaryFile([])
        func obstacle(_ target: String) throws -> String? {
            DeliveryRoute(.all, try #require(DeliveryRoute.Target(target))).obstacle
        }
        #expect(try obstacle("maildir://\(folder.path)/{local}") == nil)
        #expect(
            try obstacle("maildir://\(folder.path)/no/{local}")
                == "there is no directory \(folder.path)/no")
        #expect(
            try obstacle("maildir://\(file.path)/{local}") == "there is no directory \(file.path)")
        #expect(try obstacle("lmtp+unix://\(file.path)") == "there is no socket \(file.path)")
        #expect(try obstacle("lmtp://127.0.0.1:24") == nil)
        #expect(try obstacle("mx") == nil)
    }
}
