import COpenSSL
import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("TLS: octets") struct TLSTransferTests {
    @Test("a mebibyte each way: octets, chains and files in their order, then close_notify")
    func transfers() throws {
        let server = try TLSServer()
        let content = (0..<1_048_576).map { UInt8(truncatingIfNeeded: $0 / 13) }
        let path = server.certificates.path("content")
        try write(content, to: path)
        let (connection, peer) = try server.accept()
        server.recorder.then = { connection, event in
            guard case .readable = event, server.recorder.received.count == content.count else {
                return
            }
            server.recorder.then = { _, _ in }
            connection.write(Array("first ".utf8))
            var chain = ByteChain()
            chain.append(content)
            connection.write(chain)
            for offset in [0, 1000] {
                let file = OwnedDescriptor(taking: unsafe open(path, O_RDONLY | O_CLOEXEC))
                try? connection.writeFile(file, offset: offset, count: 1_000_000)
            }
            connection.write(content)
            connection.write(Array(" last".utf8))
            #expect(connection.unsentCount == 2 * content.count + 2_000_011)
            connection.closeAfterFlush()
        }
        let received = try server.test.run(peer) { client in
            guard client.connect(), client.send(content) else { return ([UInt8](), false) }
            return (client.receive(), client.isEndSaid)
        }
        let isReceived = same(server.recorder.received, content)
        #expect(isReceived)
        var sent = Array("first ".utf8)
        sent += content
        sent += content[..<1_000_000]
        sent += content[1000..<1_001_000]
        sent += content
        sent += Array(" last".utf8)
        let isSent = same(received.0, sent)
        #expect(isSent)
        #expect(received.1, "close_notify")
        server.recorder.then = { _, event in if case .closed = event { server.test.loop.stop() } }
        peer.endOutput()
        if !connection.isClosed { server.test.run("closed") }
        #expect(server.recorder.events.last == "closed")
        #expect(!server.recorder.events.contains("drained"))
    }

    @Test("drained and unsentBelowLimit are told as in clear, and never for the handshake's octets")
    func tellsOfUnsentOctets() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let octets = [UInt8](repeating: 0x78, count: 8_000_000)
        server.recorder.then = { connection, event in
            if case .readable = event { connection.write(octets) }
            if case .drained = event { connection.closeAfterFlush() }
        }
        let count = try server.test.run(peer) { client in
            client.connect() && client.send([0x2e]) ? client.receive().count : 0
        }
        #expect(count == octets.count)
        let events = server.recorder.events.prefix(4)
        #expect(events == ["tlsEstablished", "readable", "unsentBelowLimit", "drained"])
        withExtendedLifetime(connection) {}
    }

    @Test("a peer that doesn't read has little encrypted for it, and is counted as unsent")
    func unreadOutputIsBounded() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        #expect(try server.test.run(peer) { $0.connect() })
        connection.write([UInt8](repeating: 0x78, count: 20_000_000))
        #expect(connection.unsentCount == 20_000_000)
        server.test.turn(50)
        #expect(connection.unsentCount > 10_000_000)
        server.recorder.events = []
        connection.close()
        #expect(connection.unsentCount == 0)
        server.test.turn(3)
        #expect(server.recorder.events.isEmpty)
    }

    @Test("input that nobody takes stops at the limit and one record, and goes on when it is taken")
    func unreadInputIsBounded() throws {
        let server = try TLSServer()
        server.recorder.takesInput = false
        let (connection, peer) = try server.accept()
        let octets = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let limit = Connection.defaultInputLimit
        var look: LoopTimer?
        server.recorder.then = { connection, _ in
            guard connection.withInput({ $0.count }) >= limit else { return }
            server.recorder.then = { _, _ in
                if server.recorder.received.count >= octets.count { server.test.loop.stop() }
            }
            // So long that all would be decrypted that can be.
            look = server.test.loop.after(.milliseconds(20)) {
                #expect(connection.withInput { $0.count } <= limit + 16 * 1024)
                server.recorder.takesInput = true
                server.recorder.received += connection.takeAll()
            }
        }
        let isSent = try server.test.run(peer) { $0.connect() && $0.send(octets) }
        #expect(isSent)
        // The kernel may have had room for everything.
        if server.recorder.received.count < octets.count { server.test.run("all of it") }
        let isWhole = same(server.recorder.received, octets)
        #expect(isWhole)
        look?.cancel()
        withExtendedLifetime(connection) {}
    }

    @Test("a paused connection decrypts nothing, and loses nothing")
    func pauses() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        connection.pauseReading()
        let octets = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        #expect(try server.test.run(peer) { $0.connect() && $0.send(octets) })
        #expect(server.recorder.events == ["tlsEstablished"])
        #expect(connection.withInput { $0.count } == 0)
        server.recorder.then = { connection, event in
            // Pauses and goes on with each event, as a session does that owes an answer.
            connection.pauseReading()
            connection.resumeReading()
            if case .closedByPeer = event { server.test.loop.stop() }
        }
        connection.resumeReading()
        connection.withInput { input in
            connection.pauseReading()
            connection.resumeReading()
            #expect(input.count == input.withFirstSegment { $0.count } || input.count > 0)
        }
        peer.endOutput()
        server.test.run("closedByPeer")
        let isWhole = same(server.recorder.received, octets)
        #expect(isWhole)
    }

    @Test(
        "an end is told once, whether the peer said so in the session or just closed",
        arguments: [true, false])
    func ends(isSaid: Bool) throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        server.recorder.then = { connection, event in
            if case .closedByPeer = event { connection.write(Array("421".utf8)) }
            if case .drained = event { connection.closeAfterFlush() }
        }
        let last = try server.test.run(peer) { client in
            guard client.connect(), client.send(Array("QUIT".utf8)) else { return [UInt8]() }
            if isSaid { unsafe SSL_shutdown(client.session) }
            client.peer.endOutput()
            return client.receive()
        }
        // TLS 1.3 ends one direction at a time.
        #expect(last == Array("421".utf8))
        #expect(server.recorder.text == "QUIT")
        #expect(
            server.recorder.events == [
                "tlsEstablished", "readable", "closedByPeer", "drained", "closed",
            ])
        withExtendedLifetime(connection) {}
    }

    @Test("a file that becomes shorter fails the connection, not the process")
    func shortFile() throws {
        let server = try TLSServer()
        let path = server.certificates.path("content")
        try write([UInt8](repeating: 0x78, count: 3_000_000), to: path)
        let (connection, peer) = try server.accept()
        server.recorder.then = { connection, event in
            guard case .tlsEstablished = event else { return }
            let file = OwnedDescriptor(taking: unsafe open(path, O_RDONLY | O_CLOEXEC))
            try? connection.writeFile(file, offset: 0, count: 3_000_000)
            unsafe truncate(path, 1_000_000)
        }
        let count = try server.test.run(peer) { client in
            client.connect() ? client.receive().count : 0
        }
        #expect(count <= 1_000_000)
        #expect(server.recorder.events == ["tlsEstablished", "failed pread"])
        withExtendedLifetime(connection) {}
    }
}
