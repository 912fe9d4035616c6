import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("Connection: input") struct ConnectionInputTests {
    @Test("octets go both ways and both ends are told of the end")
    func echoes() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { connection, event in
            if case .readable = event { connection.write(recorder.received) }
            if case .closedByPeer = event { connection.closeAfterFlush() }
            if case .closed = event { test.loop.stop() }
        }
        peer.send("hello")
        peer.endOutput()
        test.run("closed")
        #expect(recorder.text == "hello")
        #expect(recorder.events.first == "readable" && recorder.events.last == "closed")
        #expect(peer.receiveAll() == Array("hello".utf8))
        #expect(connection.isClosed)
    }

    @Test("what came before the end is delivered before the end, however long reading was paused")
    func octetsBeforeEOFAreDelivered() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { _, event in if case .closedByPeer = event { test.loop.stop() } }
        connection.pauseReading()
        peer.send("DATA")
        peer.endOutput()
        let resume = test.loop.after(.milliseconds(5)) { connection.resumeReading() }
        test.run("closedByPeer")
        #expect(recorder.events == ["readable", "closedByPeer"])
        #expect(recorder.text == "DATA")
        resume.cancel()
    }

    @Test("a delegate that takes one octet a turn gets all of them before the end")
    func endWaitsForPipelinedInput() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (_, peer) = try test.pair(recorder)
        recorder.then = { connection, event in
            switch event {
            case .readable:
                // As a session does that owes an answer: pause, and go on later.
                connection.pauseReading()
                recorder.received += connection.take(1)
                connection.resumeReading()
            case .closedByPeer: test.loop.stop()
            default: break
            }
        }
        peer.send("EHLO RSET QUIT")
        peer.endOutput()
        test.run("closedByPeer")
        #expect(recorder.text == "EHLO RSET QUIT")
        #expect(recorder.events.filter { $0 == "closedByPeer" }.count == 1)
        #expect(recorder.events.last == "closedByPeer")
    }

    @Test("a paused connection isn't read: the octets stay in the kernel")
    func pausedConnectionIsNotRead() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        connection.pauseReading()
        peer.send("octets")
        test.turn(10)
        #expect(recorder.events.isEmpty)
        #expect(connection.withInput { $0.count } == 0)
    }

    @Test("pausing inside a callback holds, though more octets are there already")
    func pausesInsideCallback() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { connection, _ in
            connection.resumeReading()
            connection.pauseReading()
        }
        peer.send("one")
        test.turn(5)
        peer.send("two")
        test.turn(5)
        #expect(recorder.events == ["readable"])
        recorder.then = { _, _ in test.loop.stop() }
        connection.resumeReading()
        test.run("readable")
        #expect(recorder.text == "onetwo")
    }

    @Test("resuming redelivers what waits, once a turn and never inside the call")
    func resumeDoesNotRecurse() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (_, peer) = try test.pair(recorder)
        var depth = 0
        recorder.then = { connection, _ in
            depth += 1
            #expect(depth == 1)
            connection.resumeReading()
            connection.resumeReading()
            if recorder.events.count == 2000 { test.loop.stop() }
            depth -= 1
        }
        peer.send("x")
        test.run("2000 callbacks")
    }

    @Test("input that nobody takes stops at the limit, and goes on when it is taken")
    func unreadInputIsBounded() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (connection, peer) = try test.pair(recorder)
        let octets = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let sender = try NamedThread("sender") { [peer] in
            peer.send(octets)
            peer.endOutput()
        }
        let limit = Connection.defaultInputLimit
        recorder.then = { connection, _ in
            if connection.withInput({ $0.count }) >= limit { test.loop.stop() }
        }
        test.run("a full input")
        test.turn(10)
        #expect(connection.withInput { $0.count } <= limit + 4096)
        recorder.takesInput = true
        recorder.received += connection.takeAll()
        recorder.then = { _, event in if case .closedByPeer = event { test.loop.stop() } }
        test.run("the rest")
        sender.join()
        #expect(same(recorder.received, octets))
    }

    @Test("spans end at segments, and makeContiguous joins them")
    func makesContiguous() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (connection, peer) = try test.pair(recorder)
        let octets = (0..<20_000).map { UInt8(truncatingIfNeeded: $0) }
        recorder.then = { connection, _ in
            if connection.withInput({ $0.count }) == octets.count { test.loop.stop() }
        }
        peer.send(octets)
        test.run("all octets")
        connection.withInput { input in
            #expect(input.withFirstSegment { $0.count } < octets.count)
            input.makeContiguous(18_000)
            #expect(input.withFirstSegment { $0.count } >= 18_000)
            input.drain(17_999)
            #expect(input.withFirstSegment { $0[0] } == octets[17_999])
            input.makeContiguous(1_000_000)
            #expect(input.withFirstSegment { $0.count } == 2_001)
            input.drain(1_000_000)
            #expect(input.count == 0)
            #expect(input.withFirstSegment { $0.isEmpty })
        }
    }
}

@Suite("Connection: ends") struct ConnectionEndTests {
    @Test("a connection closed inside its callback hears nothing more")
    func closeInsideCallback() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { connection, _ in
            connection.write(Array("never sent".utf8))
            connection.resumeReading()
            connection.close()
            connection.close()
            connection.resumeReading()
        }
        peer.send("octets")
        peer.endOutput()
        test.turn(10)
        #expect(recorder.events == ["readable"])
        #expect(connection.isClosed)
        #expect(connection.withInput { $0.count } == 0)
        #expect(connection.unsentCount == 0)
        #expect(peer.receiveAll().isEmpty)
    }

    @Test("the last reference may go inside a callback")
    func releaseInsideCallback() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        var held: Connection?
        let listener = try test.listener { socket in
            held = try? Connection(loop: test.loop, accepted: socket, delegate: recorder)
        }
        let peer = try Peer(connectedTo: listener.boundAddress)
        weak var watched: Connection?
        recorder.then = { connection, _ in
            watched = connection
            held = nil
        }
        peer.send("octets")
        test.turn(10)
        #expect(recorder.events == ["readable"])
        #expect(watched == nil && held == nil)
        #expect(peer.receiveAll().isEmpty)
    }

    @Test("a delegate that is gone is told nothing, and the connection still works")
    func delegateMayGo() throws {
        let test = try TestLoop()
        let (connection, peer) = try test.pair(Recorder())
        connection.write(Array("bye".utf8))
        connection.closeAfterFlush()
        peer.endOutput()
        test.turn(10)
        #expect(peer.receiveAll() == Array("bye".utf8))
        #expect(connection.isClosed)
    }

    @Test("the last reply arrives although the peer still sends what nobody reads")
    func lastReplySurvivesUnreadInput() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (_, peer) = try test.pair(recorder)
        recorder.then = { connection, event in
            if case .closed = event { return test.loop.stop() }
            connection.write(Array("421 4.5.1".utf8))
            connection.closeAfterFlush()
        }
        let client = try NamedThread("client") { [peer] in
            peer.send([UInt8](repeating: 0x78, count: 3_000_000))
            peer.endOutput()
        }
        test.run("closed")
        client.join()
        #expect(peer.receiveAll() == Array("421 4.5.1".utf8))
        #expect(recorder.events == ["readable", "closed"])
    }

    @Test("everything written before closeAfterFlush arrives")
    func flushes() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { _, event in if case .closed = event { test.loop.stop() } }
        let octets = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 11) }
        let received = Inbox<[UInt8]>()
        let client = try NamedThread("client") { [peer] in
            received.post(peer.receiveAll())
            peer.endOutput()
        }
        connection.write(octets)
        connection.closeAfterFlush()
        connection.write(Array("too late".utf8))
        test.run("closed")
        client.join()
        #expect(same(received.takeOne() ?? [], octets))
        #expect(recorder.events == ["closed"])
    }

    @Test("a peer that is gone fails the connection once, with what is unsent")
    func unsentOutputWhenPeerIsGone() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        connection.write([UInt8](repeating: 0x78, count: 8_000_000))
        test.turn(3)
        #expect(connection.unsentCount > 0)
        recorder.then = { _, event in if case .failed = event { test.loop.stop() } }
        peer.reset()
        test.run("failed")
        test.turn(5)
        #expect(recorder.events.filter { $0.hasPrefix("failed") }.count == 1)
        #expect(recorder.events.last?.hasPrefix("failed") == true)
        #expect(connection.isClosed && connection.unsentCount == 0)
    }

    @Test("connections outlive their loop without harm")
    func outlivesLoop() throws {
        var test: TestLoop? = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try #require(try test?.pair(recorder))
        test = nil
        connection.write(Array("nobody sends this".utf8))
        connection.closeAfterFlush()
        #expect(connection.isClosed)
        withExtendedLifetime(peer) {}
    }
}
