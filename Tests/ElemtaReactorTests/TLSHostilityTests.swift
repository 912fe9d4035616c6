import COpenSSL
import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("TLS: hostile clients") struct TLSHostilityTests {
    @Test(
        "garbage instead of a handshake fails that connection with a reason",
        arguments: [
            ("EHLO example.com\r\nMAIL FROM:<>\r\n", "wrong version number"),
            ("GET / HTTP/1.0\r\n\r\n", "http request"),
            ("\u{16}\u{3}\u{1}\u{7f}\u{7f}", "packet length too long"),
            (
                "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}",
                "sslv3 alert handshake failure|unexpected message"
            ),
            ("\u{17}\u{3}\u{3}\u{0}\u{2}ab", "unexpected message"),
            ("\u{14}\u{3}\u{3}\u{0}\u{1}\u{1}", "unexpected message"),
            ("\u{16}\u{3}\u{1}\u{0}\u{4}\u{2}\u{0}\u{0}\u{0}", "unexpected message"),
            ("\u{16}\u{3}\u{1}\u{0}\u{5}\u{1}\u{0}\u{0}\u{1}a", "length mismatch|length too short"),
            ("\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}", "wrong version number"),
        ])
    func garbage(octets: String, expected: String) throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        var reason: String?
        server.recorder.then = { _, event in
            if case .failed(let error) = event { reason = error.reason }
            server.test.loop.stop()
        }
        peer.send(octets)
        server.test.run("failed")
        server.test.turn(3)
        // The versions of OpenSSL differ in their words.
        #expect(reason.map { expected.split(separator: "|").contains(Substring($0)) } == true)
        #expect(server.recorder.events == ["failed TLS handshake"])
        #expect(connection.isClosed && connection.tls == nil)
    }

    @Test("a client that goes away during the handshake fails it")
    func goesAway() throws {
        let server = try TLSServer()
        let hello = try clientHello()
        for count in [0, 1, 5, 100, hello.count - 1, hello.count] {
            for isReset in [false, true] {
                let (connection, peer) = try server.accept()
                server.recorder.events = []
                server.recorder.then = { _, _ in server.test.loop.stop() }
                peer.send(Array(hello.prefix(count)))
                server.test.turn(2)
                if isReset { peer.reset() } else { peer.endOutput() }
                if !connection.isClosed { server.test.run("failed after \(count) octets") }
                #expect(server.recorder.events == ["failed TLS handshake"])
            }
        }
    }

    @Test("closing is safe in every state of a stalled handshake, and nothing is told then")
    func closesInHandshake() throws {
        let server = try TLSServer()
        let hello = try clientHello()
        for count in [0, 1, 5, 100, hello.count - 1, hello.count] {
            for turns in 0..<3 {
                let (connection, peer) = try server.accept()
                peer.send(Array(hello.prefix(count)))
                server.test.turn(turns)
                connection.pauseReading()
                connection.write(Array("never sent".utf8))
                connection.resumeReading()
                connection.close()
                server.test.turn(2)
                #expect(connection.isClosed && connection.unsentCount == 0)
                #expect(peer.receiveAll().count < 4096)
            }
        }
        #expect(server.recorder.events.isEmpty)
    }

    @Test("closeAfterFlush in a handshake sends what was said in clear before, and ends")
    func closesAfterFlushInHandshake() throws {
        let server = try TLSServer()
        for octets in [[], try clientHello(), Array("garbage".utf8)] {
            let (connection, peer) = try server.test.pair(server.recorder)
            server.recorder.events = []
            server.recorder.then = { _, _ in server.test.loop.stop() }
            connection.write(Array("220 go\r\n".utf8))
            try connection.startTLS(server: server.context)
            connection.write(Array("never sent".utf8))
            peer.send(octets)
            connection.closeAfterFlush()
            peer.endOutput()
            server.test.run("closed")
            #expect(peer.receiveAll().starts(with: "220 go\r\n".utf8))
            #expect(server.recorder.events == ["closed"])
        }
    }

    @Test("a renegotiation is refused, and a flood of attempts held in bounds")
    func renegotiation() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let wishes = TLSPeer.Wishes(version: TLS1_2_VERSION)
        let reason = try server.test.run(peer, wishes) { client in
            guard client.connect() else { return client.reason }
            ERR_clear_error()
            unsafe SSL_renegotiate(client.session)
            unsafe SSL_do_handshake(client.session)
            return client.reason
        }
        #expect(reason == "no renegotiation")
        #expect(server.recorder.events.first == "tlsEstablished")
        #expect(server.recorder.events.count <= 2)
        connection.close()
    }

    @Test(
        "what isn't a record of the session ends it once, with a reason",
        arguments: ["plain text\r\n", "\u{17}\u{3}\u{3}\u{0}\u{14}01234567890123456789"])
    func corruptRecords(octets: String) throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let isTold = try server.test.run(peer) { client in
            guard client.connect(), client.send(Array("NOOP".utf8)) else { return false }
            client.peer.send(octets)
            return client.receive().isEmpty && !client.isEndSaid && !client.reason.isEmpty
        }
        #expect(isTold, "an alert")
        #expect(server.recorder.events == ["tlsEstablished", "readable", "failed TLS"])
        #expect(server.recorder.text == "NOOP")
        #expect(connection.isClosed)
    }

    @Test("a record that never becomes whole costs what it is long")
    func truncatedRecord() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        _ = try server.test.run(peer) { client in
            guard client.connect() else { return false }
            client.peer.send("\u{17}\u{3}\u{3}\u{40}\u{0}only this")
            client.peer.endOutput()
            return true
        }
        #expect(server.recorder.events == ["tlsEstablished", "closedByPeer"])
        connection.close()
    }

    @Test("what follows close_notify isn't read: it would only fill the memory")
    func octetsAfterTheEnd() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let sent = try server.test.run(peer) { client in
            guard client.connect() else { return 0 }
            unsafe SSL_shutdown(client.session)
            var (sent, rounds) = (0, 0)
            let octets = [UInt8](repeating: 0x17, count: 64 * 1024)
            // Until the kernel's buffers of both sides have been full for a while.
            while sent < 64 * 1024 * 1024, rounds < 20 {
                let count = unsafe send(
                    client.peer.number, octets, octets.count, Int32(MSG_DONTWAIT))
                if count > 0 { sent += count } else { rounds += 1 }
                var descriptor = pollfd(fd: client.peer.number, events: Int16(POLLOUT), revents: 0)
                unsafe poll(&descriptor, 1, 10)
            }
            return sent
        }
        #expect((1..<32 * 1024 * 1024).contains(sent))
        #expect(server.recorder.events == ["tlsEstablished", "closedByPeer"])
        connection.close()
    }

    @Test("sessions outlive their context and their loop without harm")
    func outlives() throws {
        weak var loop: EventLoop?
        func connected() throws -> Connection {
            let server = try TLSServer()
            loop = server.test.loop
            let (connection, peer) = try server.accept()
            let isConnected = try server.test.run(peer) { $0.connect() }
            #expect(isConnected)
            return connection
        }
        let connection = try connected()
        #expect(loop == nil)
        connection.write(Array("nobody sends this".utf8))
        connection.closeAfterFlush()
        #expect(connection.isClosed)
    }
}
