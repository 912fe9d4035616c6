import ElemtaReactor
import Testing

@Suite("Connection") struct ConnectionTests {
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
}
