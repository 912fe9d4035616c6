import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("Connection: output") struct ConnectionOutputTests {
    @Test("above the limit: first unsentBelowLimit, then drained; below it: drained alone")
    func tellsOfUnsentOctets() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { _, event in if case .drained = event { test.loop.stop() } }
        connection.write(Array("small".utf8))
        test.run("drained")
        #expect(recorder.events == ["drained"])
        recorder.events = []
        let client = try NamedThread("client") { [peer] in _ = peer.receiveAll() }
        connection.unsentLimit = 1_000_000
        connection.write([UInt8](repeating: 0x78, count: 8_000_000))
        #expect(connection.unsentCount == 8_000_000)
        test.run("drained")
        #expect(recorder.events == ["unsentBelowLimit", "drained"])
        #expect(connection.unsentCount == 0)
        connection.close()
        test.turn(2)
        client.join()
    }

    @Test("octets, chains and files leave in the order in which they were written")
    func writesFile() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { _, event in if case .closed = event { test.loop.stop() } }
        let content = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 / 13) }
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/content"
        try write(content, to: path)
        let received = Inbox<[UInt8]>()
        let client = try NamedThread("client") { [peer] in
            received.post(peer.receiveAll())
            peer.endOutput()
        }
        var chain = ByteChain()
        chain.append(Array("DATA ".utf8))
        connection.write(chain)
        try connection.writeFile(open(path), offset: 1_000, count: 1_500_000)
        connection.write(Array(" END".utf8))
        #expect(connection.unsentCount == 1_500_009)
        connection.closeAfterFlush()
        test.run("closed")
        client.join()
        let sent = Array("DATA ".utf8) + content[1_000..<1_501_000] + Array(" END".utf8)
        #expect(same(received.takeOne() ?? [], sent))
    }

    @Test("a file that is too short is refused, one that is cut short fails the connection")
    func shortFile() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { _, event in if case .failed = event { test.loop.stop() } }
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/content"
        try write([UInt8](repeating: 0x78, count: 100), to: path)
        #expect(throws: ReactorError("writeFile", code: EIO)) {
            try connection.writeFile(open(path), offset: 50, count: 51)
        }
        try connection.writeFile(open(path), offset: 50, count: 50)
        unsafe truncate(path, 0)
        test.run("failed")
        #expect(recorder.events == ["failed sendfile"])
        withExtendedLifetime(peer) {}
    }

    private func write(_ octets: [UInt8], to path: String) throws {
        let file = OwnedDescriptor(
            taking: unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
        var rest = octets[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.write(file.number, $0.baseAddress, $0.count)
            }
            try #require(count > 0)
            rest = rest.dropFirst(count)
        }
    }

    private func open(_ path: String) -> OwnedDescriptor {
        OwnedDescriptor(taking: unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC))
    }
}

@Suite("Connection: outbound") struct OutboundTests {
    @Test("connects from the address it is given, and sends what was written before")
    func connects() throws {
        let test = try TestLoop()
        let (inner, outer) = (Recorder(), Recorder())
        var accepted: Connection?
        var remoteAddress: SocketAddress?
        let listener = try test.listener { socket in
            remoteAddress = socket.remoteAddress
            accepted = try? Connection(loop: test.loop, accepted: socket, delegate: inner)
        }
        let source = SocketAddress(host: .v4(0x7f00_0002), port: 0)
        let connection = try Connection.connect(
            loop: test.loop, to: listener.boundAddress, from: source, timeout: .seconds(5),
            delegate: outer)
        connection.write(Array("EHLO".utf8))
        inner.then = { _, _ in test.loop.stop() }
        test.run("readable")
        #expect(outer.events.first == "connected")
        #expect(inner.text == "EHLO")
        #expect(accepted != nil)
        #expect(remoteAddress?.host == source.host)
        #expect(remoteAddress == connection.localAddress)
    }

    @Test("what a server said before it reset the connection is delivered before the failure")
    func lastWordsAreDelivered() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        recorder.then = { _, event in if case .failed = event { test.loop.stop() } }
        connection.write([UInt8](repeating: 0x78, count: 8_000_000))
        test.turn(2)
        peer.send("550 5.7.1 no")
        peer.reset()
        test.run("failed")
        #expect(recorder.text == "550 5.7.1 no")
        #expect(recorder.events.first == "readable")
    }

    @Test("a port where nobody listens is a failure of that connection")
    func refused() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let address: SocketAddress
        do {
            let listener = try test.listener { _ in }
            address = listener.boundAddress
        }
        recorder.then = { _, event in
            if case .failed(let error) = event { #expect(error.code == ECONNREFUSED) }
            test.loop.stop()
        }
        let connection = try Connection.connect(
            loop: test.loop, to: address, timeout: .seconds(5), delegate: recorder)
        test.run("failed")
        #expect(recorder.events == ["failed connect"])
        #expect(connection.isClosed)
    }

    @Test("a server whose queue is full doesn't hold the connection beyond its timeout")
    func timesOut() throws {
        let test = try TestLoop()
        let listener = try Listener(
            loop: test.loop, address: .loopback, backlog: 0, accepted: { _ in })
        listener.pause()
        var connections: [Connection] = []
        let recorder = Recorder()
        recorder.then = { _, event in
            if case .failed(let error) = event {
                #expect(error.code == ETIMEDOUT)
                test.loop.stop()
            }
        }
        for _ in 0..<4 {
            connections.append(
                try Connection.connect(
                    loop: test.loop, to: listener.boundAddress, timeout: .milliseconds(50),
                    delegate: recorder))
        }
        test.run("failed")
        #expect(recorder.events.contains("failed connect"))
        #expect(connections.contains { $0.isClosed })
    }
}
