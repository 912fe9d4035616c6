import ElemtaReactor
import Glibc
import Testing

@Suite("HTTP endpoint") struct HTTPEndpointTests {
    private final class Tested {
        let test: TestLoop
        var endpoint: HTTPEndpoint?
        var asked: [String] = []

        init(_ change: (inout HTTPLimits) -> Void = { _ in }) throws {
            test = try TestLoop()
            var limits = HTTPLimits()
            change(&limits)
            let sockets = try [ListeningSocket(.loopback)]
            endpoint = try HTTPEndpoint(loop: test.loop, sockets: sockets, limits: limits) {
                [unowned self] request in
                asked.append("\(request.path) \(request.authorization ?? "-")")
                return HTTPResponse(.ok, fields: [("X-Test", "yes")], line: "hello")
            }
        }

        func peer(_ text: String) throws -> Peer {
            let peer = try Peer(connectedTo: try #require(endpoint?.boundAddresses.first))
            peer.send(Array(text.utf8))
            return peer
        }

        /// Runs the loop until nobody is connected any more.
        func runUntilIdle(connected count: Int) {
            var hasSeen = false
            let timer = test.loop.every(.milliseconds(2)) { [unowned self] in
                let now = endpoint?.connectionCount ?? 0
                if now >= count { hasSeen = true }
                if hasSeen, now == 0 { test.loop.stop() }
            }
            test.run("all connections over")
            timer.cancel()
        }

        func answer(to text: String) throws -> String {
            let peer = try peer(text)
            runUntilIdle(connected: 1)
            return String(decoding: peer.receiveAll(), as: UTF8.self)
        }
    }

    @Test("a request is answered with its fields, and the connection closed")
    func answers() throws {
        let tested = try Tested()
        let answer = try tested.answer(
            to: "GET /a?b=c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer y\r\n\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(answer.contains("X-Test: yes\r\n") && answer.hasSuffix("\r\n\r\nhello\n"))
        #expect(tested.asked == ["/a Bearer y"])
        let head = try tested.answer(to: "HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(head.hasPrefix("HTTP/1.1 200 OK\r\n") && head.hasSuffix("\r\n\r\n"))
    }

    @Test(
        "what isn't GET or HEAD of a moderate size never comes to the owner",
        arguments: [
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "405"),
            ("DELETE / HTTP/1.1\r\n\r\n", "405"),
            ("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n", "413"),
            ("GET / HTTP/1.1\r\nX: \(String(repeating: "y", count: 9000))\r\n\r\n", "400"),
            ("GET /\(String(repeating: "y", count: 9000)) HTTP/1.1\r\n\r\n", "400"),
            ("BREW / HTTP/1.1\r\n\r\n", "501"),
        ])
    func refuses(request: String, status: String) throws {
        let tested = try Tested()
        let answer = try tested.answer(to: request)
        #expect(answer.hasPrefix("HTTP/1.1 \(status) ") || answer.isEmpty, "\(answer)")
        #expect(tested.asked.isEmpty)
    }

    @Test("half a request is cut off when its time is over, however it trickles")
    func cutsOff() throws {
        let tested = try Tested { $0.lifetime = .milliseconds(60) }
        let peer = try tested.peer("GET /")
        let trickle = tested.test.loop.every(.milliseconds(5)) { peer.send(Array("x".utf8)) }
        tested.runUntilIdle(connected: 1)
        trickle.cancel()
        #expect(tested.asked.isEmpty)
        withExtendedLifetime(peer) {}
    }

    @Test("there are never more connections than there may be, and whoever waits is served")
    func isBounded() throws {
        let tested = try Tested {
            $0.connections = 4
            $0.lifetimeWhenFull = .milliseconds(20)
        }
        let silent = try (0..<20).map { _ in try tested.peer("") }
        let last = try tested.peer("GET /last HTTP/1.1\r\n\r\n")
        var most = 0
        let timer = tested.test.loop.every(.milliseconds(1)) {
            most = max(most, tested.endpoint?.connectionCount ?? 0)
        }
        let end = tested.test.loop.every(.milliseconds(5)) {
            if !tested.asked.isEmpty { tested.test.loop.stop() }
        }
        tested.test.run("the last one served")
        timer.cancel()
        end.cancel()
        #expect(most == 4)
        withExtendedLifetime((silent, last)) {}
    }

    @Test("releasing the endpoint closes its connections, and not the socket of others")
    func isReleased() throws {
        let tested = try Tested()
        let peer = try tested.peer("GET /")
        let timer = tested.test.loop.every(.milliseconds(2)) {
            guard tested.endpoint?.connectionCount == 1 else { return }
            tested.endpoint = nil
            tested.test.loop.stop()
        }
        tested.test.run("connected")
        timer.cancel()
        tested.test.turn(3)
        #expect(peer.receiveAll().isEmpty)
    }
}
