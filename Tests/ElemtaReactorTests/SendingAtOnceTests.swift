import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("Connection: sending at once") struct SendingAtOnceTests {
    @Test("what is written is with the kernel before the call returns")
    func withoutTheLoop() throws {
        let test = try TestLoop()
        let (connection, peer) = try test.pair(Recorder())
        connection.sendsAtOnce = true
        connection.write(Array("250 OK\r\n".utf8))
        #expect(connection.unsentCount == 0)
        connection.close()
        test.turn(1)
        #expect(String(decoding: peer.receiveAll(), as: UTF8.self) == "250 OK\r\n")
    }

    @Test("what was written before leaves first")
    func afterWhatWaits() throws {
        let test = try TestLoop()
        let (connection, peer) = try test.pair(Recorder())
        connection.write(Array("220 ".utf8))
        connection.sendsAtOnce = true
        #expect(connection.unsentCount == 0)
        connection.write(Array("hello\r\n".utf8))
        connection.close()
        test.turn(1)
        #expect(String(decoding: peer.receiveAll(), as: UTF8.self) == "220 hello\r\n")
    }

    @Test("answers to what came together leave together")
    func gathersWhileReadable() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        connection.sendsAtOnce = true
        var unsent: [Int] = []
        recorder.then = { connection, event in
            guard case .readable = event else { return }
            for _ in 1...2 {
                connection.write(Array("250 OK\r\n".utf8))
                unsent.append(connection.unsentCount)
            }
            test.loop.stop()
        }
        peer.send("NOOP\r\nNOOP\r\n")
        test.run("readable")
        #expect(unsent == [8, 16])
        #expect(connection.unsentCount == 0)
    }

    @Test("the loop sends what the kernel doesn't take, in order, and then it goes at once again")
    func leavesTheRestToTheLoop() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        connection.sendsAtOnce = true
        let first = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 / 13) }
        connection.write(first)
        #expect(connection.unsentCount > 0)
        connection.write(Array("END".utf8))
        let received = Inbox<[UInt8]>()
        let client = try NamedThread("client") { [peer] in received.post(peer.receiveAll()) }
        recorder.then = { _, event in if case .unsentBelowLimit = event { test.loop.stop() } }
        test.run("unsentBelowLimit")
        while connection.unsentCount > 0 { test.turn(1) }
        connection.write(Array(".".utf8))
        #expect(connection.unsentCount == 0)
        connection.close()
        test.turn(1)
        client.join()
        #expect(same(received.takeOne() ?? [], first + Array("END.".utf8)))
    }

    @Test("a peer that is gone is a failure of that connection, told from the loop")
    func failure() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        connection.sendsAtOnce = true
        connection.pauseReading()
        peer.reset()
        recorder.then = { _, event in if case .failed = event { test.loop.stop() } }
        // The first finds the reset, or provokes it.
        connection.write(Array("250 OK\r\n".utf8))
        connection.write(Array("250 OK\r\n".utf8))
        #expect(recorder.events.isEmpty)
        test.run("failed")
        #expect(recorder.events == ["failed write"])
    }

    @Test("the last reply leaves before the end")
    func closesAfterFlush() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        connection.sendsAtOnce = true
        connection.write(Array("221 bye\r\n".utf8))
        connection.closeAfterFlush()
        peer.endOutput()
        recorder.then = { _, event in if case .closed = event { test.loop.stop() } }
        test.run("closed")
        #expect(String(decoding: peer.receiveAll(), as: UTF8.self) == "221 bye\r\n")
    }
}
