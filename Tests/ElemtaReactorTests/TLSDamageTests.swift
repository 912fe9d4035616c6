import COpenSSL
import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("TLS: damaged handshakes") struct TLSDamageTests {
    /// A record of TLS: its type, and what it holds.
    private func record(_ type: UInt8, _ octets: [UInt8]) -> [UInt8] {
        [type, 3, 3, UInt8(octets.count >> 8), UInt8(octets.count & 0xff)] + octets
    }

    @Test("whatever follows the client's first message ends that connection, and no other")
    func afterClientHello() throws {
        let server = try TLSServer()
        let hello = try clientHello()
        let cases: [(name: String, octets: [UInt8])] = [
            ("a fatal alert", record(21, [2, 40])),
            ("a warning, then the end of the session", record(21, [1, 90]) + record(21, [1, 0])),
            ("an alert of an unknown level", record(21, [3, 40])),
            ("half an alert", record(21, [2])),
            ("the same message again", hello),
            ("octets of the session that isn't yet", record(23, Array("MAIL FROM:<>\r\n".utf8))),
            ("a record of no known type", record(99, [0])),
            ("an empty handshake record", record(22, [])),
            ("a record that is too long", [23, 3, 3, 0x48, 1] + [UInt8](repeating: 0, count: 8)),
            ("a handshake message of 16 MiB", record(22, [20, 255, 255, 255])),
            ("no end of changes of the cipher", (0..<100).flatMap { _ in record(20, [1]) }),
            ("plain text", Array("MAIL FROM:<>\r\n".utf8)),
        ]
        // A client that is served all the while.
        let served = Recorder()
        let (bystander, witness) = try server.test.pair(served)
        try bystander.startTLS(server: server.context)
        served.then = { connection, event in
            if case .readable = event { connection.write(Array("250".utf8)) }
        }
        let client = try LastingClient(witness)
        let isConnected = try server.test.run { client.use { $0.connect() } }
        #expect(isConnected)
        for (name, octets) in cases {
            let (connection, peer) = try server.accept()
            server.recorder.events = []
            server.recorder.then = { _, _ in server.test.loop.stop() }
            peer.send(hello)
            server.test.turn(2)
            peer.send(octets)
            if !connection.isClosed { server.test.run(Comment(rawValue: name)) }
            #expect(server.recorder.events == ["failed TLS handshake"], "\(name)")
            let echo = try server.test.run {
                client.use { $0.send(Array("NOOP".utf8)) ? $0.receive(3) : [] }
            }
            #expect(echo == Array("250".utf8), "\(name)")
        }
    }

    @Test("a client's first message with any octet changed is answered or refused, nothing else")
    func changedClientHello() throws {
        let server = try TLSServer()
        let hello = try clientHello()
        for index in hello.indices {
            for mask: UInt8 in [0x01, 0x80, 0xff] {
                let (connection, peer) = try server.accept()
                server.recorder.events = []
                var changed = hello
                changed[index] ^= mask
                peer.send(changed)
                peer.endOutput()
                server.recorder.then = { _, _ in server.test.loop.stop() }
                if !connection.isClosed { server.test.run("octet \(index) ^ \(mask)") }
                #expect(server.recorder.events == ["failed TLS handshake"])
                #expect(connection.isClosed)
            }
        }
    }

    @Test("a handshake cut into records and segments of one octet is a handshake")
    func fragments() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let hello = try clientHello()
        for octet in hello.dropFirst(5) {
            for part in record(22, [octet]) { peer.send([part]) }
            server.test.turn(1)
        }
        server.test.turn(5)
        var answer = [UInt8](repeating: 0, count: 6)
        let count = unsafe recv(peer.number, &answer, answer.count, Int32(MSG_DONTWAIT))
        #expect(count == 6)
        // A handshake record with a ServerHello.
        #expect(answer[0] == 22 && answer[5] == 2)
        #expect(server.recorder.events.isEmpty)
        connection.close()
    }

    @Test("answers that a client provokes and doesn't read are bounded, and end it")
    func keyUpdates() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let client = try LastingClient(peer, TLSPeer.Wishes(version: TLS1_3_VERSION))
        let isConnected = try server.test.run { client.use { $0.connect() } }
        #expect(isConnected)
        // The kernel takes no more: every answer waits here.
        connection.write([UInt8](repeating: 0x78, count: 20_000_000))
        server.test.turn(50)
        var largest = 0
        let before = connection.unsentCount
        server.recorder.then = { connection, _ in server.test.loop.stop() }
        let look = server.test.loop.every(.milliseconds(1)) {
            largest = max(largest, connection.unsentCount)
        }
        let sent = try server.test.run {
            client.use { client in
                for number in 0..<20_000 {
                    let wish = Int32(SSL_KEY_UPDATE_REQUESTED)
                    guard unsafe SSL_key_update(client.session, wish) == 1,
                        unsafe SSL_do_handshake(client.session) == 1
                    else { return number }
                }
                return 20_000
            }
        }
        look.cancel()
        #expect((1..<20_000).contains(sent))
        #expect(server.recorder.events == ["tlsEstablished", "failed write"])
        #expect(connection.isClosed)
        #expect(largest < before + 128 * 1024)
    }

    @Test("octets that came before implicit TLS began are the beginning of the handshake")
    func handshakeInInput() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.test.pair(server.recorder)
        server.recorder.takesInput = false
        server.recorder.then = { connection, event in
            guard case .readable = event else { return }
            if server.recorder.takesInput { return connection.write(server.recorder.received) }
            // What a load balancer says, and behind it the client itself.
            guard connection.withInput({ $0.count }) > 20 else { return }
            #expect(connection.take(9) == Array("PROXY ...".utf8))
            let dropped = try? connection.startTLS(
                server: server.context, isInputEncrypted: true)
            #expect(dropped == 0)
            server.recorder.takesInput = true
        }
        let echo = try server.test.run(peer) { client in
            client.peer.send("PROXY ...")
            return client.connect() && client.send(Array("EHLO".utf8)) ? client.receive(4) : []
        }
        #expect(echo == Array("EHLO".utf8))
        #expect(connection.tls?.protocolName == "TLSv1.3")
    }
}
