import ElemtaReactor
import ElemtaThreads
import Testing

@Suite("ByteChain") struct ByteChainTests {
    @Test("octets come out as they went in, and drain from the front")
    func keepsOctets() {
        var chain = ByteChain()
        #expect(chain.isEmpty && chain.octets.isEmpty)
        let octets = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 3) }
        for start in stride(from: 0, to: octets.count, by: 777) {
            chain.append(Array(octets[start..<min(start + 777, octets.count)]))
        }
        #expect(same(chain.octets, octets))
        chain.drain(99_999)
        #expect(chain.octets == [octets[99_999]])
        var other = ByteChain()
        other.append(Array("tail".utf8))
        chain.append(other)
        #expect(chain.count == 5)
        chain.append(ByteChain())
        chain.drain(1_000)
        #expect(chain.isEmpty && chain.segmentCount == 0)
    }

    @Test("an error of the body ends the walk and is passed on")
    func throwsOn() {
        struct Stop: Error {}
        var chain = ByteChain()
        for _ in 0..<10 { chain.append([UInt8](repeating: 1, count: 5_000)) }
        var visited = 0
        #expect(throws: Stop.self) {
            try chain.forEachSegment { _ throws(Stop) in
                visited += 1
                throw Stop()
            }
        }
        #expect(visited == 1)
    }

    @Test("octets moved one at a time share segments")
    func trickleCostsBoundedMemory() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (_, peer) = try test.pair(recorder)
        var chain = ByteChain()
        let total = 10_000
        peer.send("x")
        recorder.then = { connection, _ in
            connection.withInput { input in input.move(input.count, to: &chain) }
            if chain.count == total { return test.loop.stop() }
            peer.send("x")
        }
        test.run("all octets")
        // The longest segment that small pieces make holds 4 KiB.
        #expect(chain.segmentCount <= total / 4_000 + 3)
        #expect(same(chain.octets, [UInt8](repeating: 0x78, count: total)))
    }

    @Test(
        "no way of cutting a stream makes the chain hold much more than the octets",
        arguments: [1, 100, 4_095, 4_097, 8_200, 20_000, 60_000])
    func cutStreamCostsBoundedMemory(piece: Int) throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (_, peer) = try test.pair(recorder)
        var chain = ByteChain()
        let octets = (0..<120_000).map { UInt8(truncatingIfNeeded: $0 / 5) }
        let sender = try NamedThread("sender") { [peer] in peer.send(octets) }
        recorder.then = { connection, _ in
            connection.withInput { input in
                while input.count > 0 { input.move(piece, to: &chain) }
            }
            if chain.count == octets.count { test.loop.stop() }
        }
        test.run("all octets")
        sender.join()
        #expect(same(chain.octets, octets))
        // Segments are powers of two, 16 KiB at most; what is in them fills half of them.
        #expect(chain.segmentCount <= octets.count / 4_000 + 4)
    }

    @Test("a chain goes to another thread with its octets")
    func goesToAnotherThread() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        recorder.takesInput = false
        let (connection, peer) = try test.pair(recorder)
        let octets = (0..<60_000).map { UInt8(truncatingIfNeeded: $0) }
        recorder.then = { connection, _ in
            if connection.withInput({ $0.count }) == octets.count { test.loop.stop() }
        }
        peer.send(octets)
        test.run("all octets")
        let content = connection.withInput { input in
            var chain = ByteChain()
            input.move(octets.count, to: &chain)
            return Content(chain)
        }
        connection.close()
        let spool = try NamedThread("spool") { #expect(same(content.chain.octets, octets)) }
        spool.join()
    }

    /// As the owner of a message's content does: a chain in an object that threads share.
    final class Content: Sendable {
        let chain: ByteChain
        init(_ chain: consuming ByteChain) { self.chain = chain }
    }
}
