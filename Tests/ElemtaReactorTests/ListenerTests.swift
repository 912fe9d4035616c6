import ElemtaReactor
import Glibc
import Testing

@Suite("Listener") struct ListenerTests {
    @Test("all addresses are two sockets on one port")
    func allAddresses() throws {
        let test = try TestLoop()
        var hosts: [SocketAddress.Host] = []
        let listeners = try ListeningSocket.bind(SocketAddress.all(":0")).map { socket in
            Listener(loop: test.loop, socket: socket) {
                hosts.append($0.remoteAddress.host ?? .v4(0))
                test.loop.stop()
            }
        }
        let ports = Set(listeners.map(\.boundAddress.port))
        #expect(ports.count == 1 && ports != [0])
        let peer = try Peer(connectedTo: try #require(listeners.last).boundAddress)
        test.run("accepted")
        #expect(hosts == [.v4(0x7f00_0001)])
        withExtendedLifetime(peer) {}
    }

    @Test("a port that is taken is refused")
    func addressInUse() throws {
        let test = try TestLoop()
        let listener = try test.listener { _ in }
        #expect(throws: ReactorError("bind", code: EADDRINUSE)) {
            try Listener(loop: test.loop, address: listener.boundAddress) { _ in }
        }
    }

    @Test("a paused listener accepts nobody, a resumed one everybody who waited")
    func pauses() throws {
        let test = try TestLoop()
        var count = 0
        let listener = try test.listener { _ in
            count += 1
            if count == 3 { test.loop.stop() }
        }
        listener.pause()
        let peers = try (0..<3).map { _ in try Peer(connectedTo: listener.boundAddress) }
        test.turn(5)
        #expect(count == 0)
        listener.resume()
        test.run("accepted")
        #expect(count == 3)
        withExtendedLifetime(peers) {}
    }

    @Test("a listener may be released by what it accepted")
    func releaseInsideCallback() throws {
        let test = try TestLoop()
        var listener: Listener?
        weak var watched: Listener?
        listener = try test.listener { _ in
            listener = nil
            test.loop.stop()
        }
        watched = listener
        let peer = try Peer(connectedTo: try #require(listener).boundAddress)
        test.run("accepted")
        #expect(watched == nil)
        #expect(peer.receiveAll().isEmpty)
    }

    @Test("a socket that is refused gets the text and its end")
    func refuses() throws {
        let test = try TestLoop()
        let listener = try test.listener { socket in
            socket.refuse(with: Array("421 4.3.2".utf8))
            test.loop.stop()
        }
        let peer = try Peer(connectedTo: listener.boundAddress)
        test.run("accepted")
        #expect(peer.receiveAll() == Array("421 4.3.2".utf8))
    }

    @Test("out of descriptors: newcomers are told, the loop doesn't spin, and it recovers")
    func descriptorExhaustionDoesNotSpin() async {
        await #expect(processExitsWith: .success) {
            let test = try TestLoop()
            var accepted: [Connection] = []
            let recorder = Recorder()
            let refusal = Array("421 4.3.2 no room".utf8)
            var refused: [SocketAddress] = []
            let listener = try test.listener(refusal: refusal, refused: { refused.append($0) }) {
                socket in
                if let connection = try? Connection(
                    loop: test.loop, accepted: socket, delegate: recorder)
                {
                    accepted.append(connection)
                }
            }
            // The peers are there before descriptors run out: connecting needs none of ours.
            let peers = try (0..<5).map { _ in try Peer(connectedTo: listener.boundAddress) }
            var hogs: [OwnedDescriptorBox] = []
            while true {
                let number = unsafe open("/dev/null", O_RDONLY)
                guard number >= 0 else { break }
                hogs.append(OwnedDescriptorBox(number))
            }
            try #require(hogs.count > 2)
            hogs.removeLast(2)
            test.turn(10)
            try #require(accepted.count == 2)
            for peer in peers[2...] { try #require(peer.receiveAll() == refusal) }
            try #require(refused.count == 3)
            try #require(refused.allSatisfy { $0.host == listener.boundAddress.host })
            // Nobody waits, so nothing may happen: a loop that spins would use its time up.
            let before = cpuTime()
            let end = test.loop.after(.milliseconds(200)) { test.loop.stop() }
            test.run("200 ms")
            try #require(cpuTime() - before < .milliseconds(50))
            hogs.removeAll()
            let late = try Peer(connectedTo: listener.boundAddress)
            test.turn(10)
            try #require(accepted.count == 3)
            withExtendedLifetime((late, end, peers)) {}
        }
    }
}

/// CPU time that this process has used.
private func cpuTime() -> Duration {
    var time = timespec()
    unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
}

private final class OwnedDescriptorBox {
    let descriptor: OwnedDescriptor
    init(_ number: Int32) { descriptor = OwnedDescriptor(taking: number) }
}

@Suite("Listener: unix-domain sockets") struct UnixListenerTests {
    @Test("the socket is the owner's alone, and gone with the listener")
    func modeAndRemoval() throws {
        let test = try TestLoop()
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/control.sock"
        do {
            let listener = try Listener(
                loop: test.loop, address: SocketAddress(unixPath: path)
            ) { _ in }
            var status = stat()
            unsafe lstat(path, &status)
            #expect(status.st_mode & 0o777 == 0o600)
            #expect(listener.boundAddress.description == path)
        }
        #expect(unsafe access(path, F_OK) == -1)
    }

    @Test("what a dead server left is removed; a live server and a file of another kind aren't")
    func staleSocket() throws {
        let test = try TestLoop()
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/control.sock"
        let address = SocketAddress(unixPath: path)
        do {
            // Bound and never removed, as by a server that was killed.
            let listener = try Listener(loop: test.loop, address: address) { _ in }
            unsafe link(path, path + ".kept")
            withExtendedLifetime(listener) {}
        }
        unsafe rename(path + ".kept", path)
        let listener = try Listener(loop: test.loop, address: address) { _ in }
        #expect(throws: ReactorError("bind", code: EADDRINUSE)) {
            try Listener(loop: test.loop, address: address) { _ in }
        }
        #expect(unsafe access(path, F_OK) == 0)
        let file = "\(directory.path)/file"
        close(unsafe open(file, O_CREAT | O_WRONLY, 0o600))
        #expect(throws: ReactorError("bind", code: EADDRINUSE)) {
            try Listener(loop: test.loop, address: SocketAddress(unixPath: file)) { _ in }
        }
        withExtendedLifetime(listener) {}
    }

    @Test("a path longer than the kernel's 107 octets is bound and connected")
    func longUnixPath() throws {
        let test = try TestLoop()
        let directory = try TemporaryDirectory()
        var path = directory.path
        for _ in 0..<4 {
            path += "/" + String(repeating: "d", count: 60)
            unsafe mkdir(path, 0o700)
        }
        let address = SocketAddress(unixPath: path + "/control.sock")
        let (inner, outer) = (Recorder(), Recorder())
        var accepted: Connection?
        var remoteAddress: SocketAddress?
        let listener = try Listener(loop: test.loop, address: address) { socket in
            remoteAddress = socket.remoteAddress
            accepted = try? Connection(loop: test.loop, accepted: socket, delegate: inner)
        }
        inner.then = { _, _ in test.loop.stop() }
        let connection = try Connection.connect(
            loop: test.loop, to: address, timeout: .seconds(5), delegate: outer)
        connection.write(Array("status".utf8))
        test.run("readable")
        #expect(inner.text == "status")
        #expect(accepted != nil)
        #expect(remoteAddress?.unixPath == "")
        withExtendedLifetime(listener) {}
        let name = String(repeating: "n", count: 108)
        #expect(throws: ReactorError("bind", code: ENAMETOOLONG)) {
            try Listener(
                loop: test.loop, address: SocketAddress(unixPath: "\(path)/\(name)")
            ) { _ in }
        }
    }
}
