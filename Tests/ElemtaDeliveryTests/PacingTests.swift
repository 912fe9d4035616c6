import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Synchronization
import Testing

@testable import ElemtaDelivery

/// How many connections a destination gets, and how many messages.
struct PacingTests {
    private static let start = MonotonicTime(nanoseconds: 1_000_000_000)

    private static func openWindow(ceiling: Int) -> DestinationWindow {
        var window = DestinationWindow(ceiling: ceiling)
        let isNews = window.open()
        #expect(isNews)
        return window
    }

    @Test func aWindowOpensWithTheFirstGreeting() {
        var window = DestinationWindow(ceiling: 20)
        #expect(window.room(beside: 0, at: Self.start) == 1)
        #expect(window.room(beside: 1, at: Self.start) == 0)
        for count in 2...5 {
            let mayTry = window.tryAnother()
            #expect(mayTry)
            #expect(window.room(beside: 0, at: Self.start) == count)
        }
        var mayTry = window.tryAnother()
        #expect(!mayTry)
        let news = [window.open(), window.open()]
        #expect(news == [true, false])
        mayTry = window.tryAnother()
        #expect(!mayTry)
        window.messageTaken(connections: 5)
        #expect(window.room(beside: 0, at: Self.start) == 6)
    }

    @Test func aWindowGrowsWithEachMessageWhileItIsUsed() {
        var window = Self.openWindow(ceiling: 20)
        #expect(window.size == 5)
        #expect(window.room(beside: 3, at: Self.start) == 2)
        // One connection takes all there is: more of them are of no use.
        for _ in 0..<100 { window.messageTaken(connections: 1) }
        #expect(window.size == 6)
        for _ in 0..<4 { window.messageTaken(connections: window.size) }
        #expect(window.size == 10)
        for _ in 0..<100 { window.messageTaken(connections: window.size) }
        #expect(window.size == 20)
    }

    @Test func aRefusalCostsOneConnectionAndSlowsTheGrowth() {
        var window = Self.openWindow(ceiling: 20)
        for _ in 0..<5 { window.messageTaken(connections: window.size) }
        #expect(window.size == 10)
        for _ in 0..<3 { window.connectionRefused(at: Self.start) }
        #expect(window.size == 7)
        #expect(window.room(beside: 5, at: Self.start + .seconds(9)) == 0)
        #expect(window.room(beside: 5, at: Self.start + .seconds(10)) == 2)
        // Without any connection there is nobody to wait for.
        #expect(window.room(beside: 0, at: Self.start) == 7)
        for _ in 0..<6 { window.messageTaken(connections: 7) }
        #expect(window.size == 7)
        window.messageTaken(connections: 7)
        #expect(window.size == 8)
        for _ in 0..<100 { window.connectionRefused(at: Self.start) }
        #expect(window.size == 1)
    }

    @Test(
        "A window begins at five, or at its ceiling",
        arguments: [(0, 1), (1, 1), (4, 4), (5, 5), (1_000, 5)])
    func beginning(ceiling: Int, size: Int) {
        #expect(DestinationWindow(ceiling: ceiling).size == size)
    }

    @Test func aRateHoldsInEveryStretchOfTime() {
        var rate = SendingRate(RateLimit(count: 3, period: .seconds(10)))
        var now = Self.start
        var beginnings: [MonotonicTime] = []
        for step in 0..<200 {
            if let next = rate.nextBeginning(at: now) {
                #expect(next > now)
                now = next
            }
            #expect(rate.nextBeginning(at: now) == nil)
            rate.begin(at: now)
            beginnings.append(now)
            now = now + .milliseconds(step * 37 % 4_000)
        }
        for (first, fourth) in zip(beginnings, beginnings.dropFirst(3)) {
            #expect(fourth - first >= .seconds(10))
        }
    }

    @Test func aLimitedDomainIsSentWhatItMayAndOthersAllTheSame() throws {
        let server = try ScriptedServer(ScriptedServer.polite())
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.rates = [
            (
                .exact(try #require(Domain("slow.example.com"))),
                RateLimit(count: 2, period: .milliseconds(300))
            )
        ]
        let port = server.address.port
        let store = MemoryStore()
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        let began = MonotonicTime.now
        service.deliver(
            try (1...5).map {
                try store.add($0, destination: "smtp+to=slow.example.com:[127.0.0.1]:\(port)")
            })
        service.deliver(
            try (11...40).map { try store.add($0, destination: "smtp:[127.0.0.1]:\(port)") })
        let first = try store.take(32)
        #expect(first.allSatisfy { $0.summary == "relayed 2.0.0" })
        #expect(Set(first.map(\.id.rawValue)).isSuperset(of: 11...40))
        #expect(MonotonicTime.now - began < .milliseconds(300))
        // Two at once, two a moment later, one after that.
        #expect(try store.take(2).count == 2)
        #expect(MonotonicTime.now - began >= .milliseconds(300))
        #expect(try store.take(1).count == 1)
        #expect(MonotonicTime.now - began >= .milliseconds(600))
        service.stop(grace: .zero)
    }

    @Test func whatIsHeldBackIsGivenBackAtTheEnd() throws {
        let server = try ScriptedServer(ScriptedServer.polite())
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.rates = [(.all, RateLimit(count: 1, period: .seconds(3_600)))]
        let store = MemoryStore()
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        let destination = "smtp+to=example.com:[127.0.0.1]:\(server.address.port)"
        service.deliver(try (1...5).map { try store.add($0, destination: destination) })
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(try store.take(4).allSatisfy { $0.summary == "not attempted" })
        #expect(server.record.messages.count == 1)
    }

    @Test func whatWasSentCountsWhenNothingWaitsAnyMore() throws {
        let polite = ScriptedServer.polite()
        let server = try ScriptedServer { moment in
            // The connection is over with the message.
            moment.line == "." ? .sayAndClose("250 2.0.0 and goodbye\r\n") : polite(moment)
        }
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.messagesPerConnection = 1
        settings.rates = [(.all, RateLimit(count: 2, period: .seconds(3_600)))]
        let store = MemoryStore()
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        let destination = "smtp+to=example.com:[127.0.0.1]:\(server.address.port)"
        for number in 1...2 as ClosedRange<UInt64> {
            service.deliver([try store.add(number, destination: destination)])
            #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        }
        service.deliver([try store.add(3, destination: destination)])
        // Another destination of the same worker, after it.
        service.deliver([
            try store.add(4, destination: "smtp:[127.0.0.1]:\(server.address.port)")
        ])
        #expect(try store.take(1).map(\.id.rawValue) == [4])
        service.stop(grace: .zero)
        #expect(try store.take(1).map(\.summary) == ["not attempted"])
        #expect(server.record.messages.count == 3)
    }

    @Test func aLackOfDescriptorsIsWaitedFor() throws {
        let file = try TemporaryFile(Array(repeating: 0x61, count: 300_000))
        let server = try ScriptedServer(ScriptedServer.polite())
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        let store = MemoryStore()
        store.openingFails.withLock { $0 = [.noDescriptors, .noDescriptors] }
        let service = DeliveryService(settings) { _ in }
        try service.start(store: store, resolver: nil) { _, _ in }
        let began = MonotonicTime.now
        service.deliver([
            try store.add(
                1, content: .file(path: file.path, offset: 0, count: 300_000),
                destination: "smtp:[127.0.0.1]:\(server.address.port)")
        ])
        #expect(try store.take(1).map(\.summary) == ["relayed 2.0.0"])
        #expect(MonotonicTime.now - began >= DeliveryWorker.shortagePause * 2)
        service.stop(grace: .zero)
        #expect(server.record.messages.count == 1)
        // Each time the connection was given back as well.
        #expect(server.record.dialogues.count == 3)
    }
}
