import ElemtaReactor
import ElemtaThreads
import Glibc
import Synchronization
import Testing

@Suite("EventLoop") struct EventLoopTests {
    @Test("timers fire in the order of their delays, and not when cancelled or released")
    func timers() throws {
        let test = try TestLoop()
        var fired: [Int] = []
        let timers = [30, 10, 20].map { delay in
            test.loop.after(.milliseconds(delay)) {
                fired.append(delay)
                if delay == 30 { test.loop.stop() }
            }
        }
        let cancelled = test.loop.after(.milliseconds(5)) { fired.append(5) }
        cancelled.cancel()
        _ = test.loop.after(.milliseconds(5)) { fired.append(6) }
        test.run("30 ms")
        #expect(fired == [10, 20, 30])
        withExtendedLifetime(timers) {}
    }

    @Test("a timer may release itself, and what its body captured goes with it")
    func releasesItself() throws {
        let test = try TestLoop()
        final class Captured {}
        var captured: Captured? = Captured()
        weak let watched = captured
        var count = 0
        var timer: LoopTimer?
        var end: LoopTimer?
        timer = test.loop.every(.milliseconds(1)) { [captured] in
            count += 1
            withExtendedLifetime(captured) {}
            guard count == 3 else { return }
            timer = nil
            end = test.loop.after(.milliseconds(5)) { test.loop.stop() }
        }
        captured = nil
        test.run("three times and a while")
        #expect(count == 3)
        #expect(timer == nil && watched == nil)
        end?.cancel()
    }

    @Test("a signal to the process runs its body on the loop")
    func signals() throws {
        let test = try TestLoop()
        var count = 0
        let watch = test.loop.onSignal(SIGUSR1) {
            count += 1
            test.loop.stop()
        }
        let sender = test.loop.after(.zero) { kill(getpid(), SIGUSR1) }
        test.run("SIGUSR1")
        #expect(count == 1)
        watch.cancel()
        sender.cancel()
    }

    @Test("a watched descriptor tells that it is readable until it is read")
    func watchesDescriptor() throws {
        let test = try TestLoop()
        var ends: [Int32] = [0, 0]
        unsafe pipe(&ends)
        let reading = OwnedDescriptor(taking: ends[0])
        let writing = OwnedDescriptor(taking: ends[1])
        var count = 0
        let watch = test.loop.watch(readable: reading.number) {
            count += 1
            if count == 3 { test.loop.stop() }
        }
        var octet: UInt8 = 1
        unsafe write(writing.number, &octet, 1)
        test.run("three turns")
        #expect(count == 3)
        watch.cancel()
    }

    @Test("the descriptor limit is raised to what the process may have")
    func raisesLimit() {
        let (soft, hard) = DescriptorLimit.raise()
        #expect(soft == hard && soft > 0)
    }
}

@Suite("EventPipe") struct EventPipeTests {
    @Test("however many messages are posted, the loop is woken once and gets them in order")
    func pipeWakesOnceForMany() throws {
        let test = try TestLoop()
        var deliveries: [[Int]] = []
        let pipe = try EventPipe<Int>(loop: test.loop) { messages in
            deliveries.append(messages)
            test.loop.stop()
        }
        for number in 0..<1000 { pipe.post(number) }
        pipe.post(contentsOf: [1000, 1001])
        pipe.post(contentsOf: [])
        test.run("delivery")
        test.turn(3)
        #expect(deliveries == [Array(0...1001)])
    }

    @Test("messages of several threads all arrive, those of one thread in its order")
    func severalThreads() throws {
        let test = try TestLoop()
        var received: [Int: [Int]] = [:]
        var total = 0
        let pipe = try EventPipe<(thread: Int, number: Int)>(loop: test.loop) { messages in
            for message in messages { received[message.thread, default: []].append(message.number) }
            total += messages.count
            if total == 40_000 { test.loop.stop() }
        }
        let threads = try (0..<4).map { thread in
            try NamedThread("poster") {
                for number in 0..<10_000 { pipe.post((thread, number)) }
            }
        }
        test.run("all messages")
        for thread in threads { thread.join() }
        for thread in 0..<4 { #expect(received[thread] == Array(0..<10_000)) }
    }

    @Test("released by another thread it delivers what was posted, then lets its body go")
    func releasedElsewhere() throws {
        let test = try TestLoop()
        final class Captured {}
        var captured: Captured? = Captured()
        weak let watched = captured
        var received: [Int] = []
        let box = Mutex<EventPipe<Int>?>(
            try EventPipe(loop: test.loop) { [captured] in
                received += $0
                withExtendedLifetime(captured) {}
            })
        captured = nil
        box.withLock { $0?.post(7) }
        let shared = Shared(box)
        try NamedThread("owner") { shared.box.withLock { $0 = nil } }.join()
        test.turn(5)
        #expect(received == [7])
        #expect(watched == nil)
    }

    @Test("posting to a loop that is gone is harmless")
    func outlivesLoop() throws {
        var test: TestLoop? = try TestLoop()
        let loop = try #require(test?.loop)
        let pipe = try EventPipe<Int>(loop: loop) { _ in }
        test = nil
        pipe.post(1)
        withExtendedLifetime(loop) {}
        pipe.close()
        pipe.post(2)
    }

    private final class Shared: Sendable {
        let box: Mutex<EventPipe<Int>?>
        init(_ box: consuming Mutex<EventPipe<Int>?>) { self.box = box }
    }
}
