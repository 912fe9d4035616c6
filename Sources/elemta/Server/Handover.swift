import ElemtaReactor

/// What two servers say to each other while one takes the other's place, over the control socket.
///
/// The new one asks (`request`) and is given the listening sockets; the old one goes on serving until
/// it is told `take`. It stops then, and says `free` once it has let go of the queue. When the new one
/// serves it says `serving`, and the old one ends. A connection that closes before that is a new
/// server that failed: the old one serves again.
enum HandoverWord {
    static let request = ["handover", "1"]
    static let take = UInt8(ascii: "t")
    static let free = UInt8(ascii: "f")
    static let serving = UInt8(ascii: "s")
    /// No; a sentence follows, to the end of the stream.
    static let refusal = UInt8(ascii: "-")

    /// How often whoever waits for the other one says so in its log.
    static let remindAfter = Duration.seconds(30)

    static func milliseconds(since begin: ContinuousClock.Instant) -> Int {
        Int((ContinuousClock.now - begin) / .milliseconds(1))
    }
}

/// The old server's side. Reactor thread only.
final class Handover: ConnectionDelegate {
    enum Phase {
        /// The other one has our sockets, and may still fail without anybody noticing.
        case offered
        /// It waits for the queue.
        case taken
        /// It has the queue, or is about to.
        case released
        /// It serves.
        case succeeded
        /// It has gone before it served, or took too long.
        case failed(String)
    }

    /// How long the other one may look at its configuration before others may ask.
    private static let offerTime = Duration.seconds(60)

    private(set) var phase = Phase.offered
    private var deadline: LoopTimer?
    private let connection: Connection
    /// Hears of each phase that the other side brings about.
    private let changed: (Phase) -> Void

    /// Gives the sockets away. Throws what `Connection.give` throws.
    init(
        _ connection: Connection, giving sockets: [ListeningSocket], on loop: EventLoop,
        changed: @escaping (Phase) -> Void
    ) throws(ReactorError) {
        self.connection = connection
        self.changed = changed
        try connection.give(sockets)
        connection.delegate = self
        deadline = loop.after(Self.offerTime) { [unowned self] in
            connection.close()
            become(.failed("the new server has asked for the sockets, and then for nothing more"))
        }
        // What the other one said meanwhile.
        connection.resumeReading()
    }

    /// The queue is free.
    func release() {
        guard case .taken = phase else { return }
        phase = .released
        connection.write([HandoverWord.free])
    }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        switch event {
        case .readable: read()
        case .closedByPeer, .failed, .closed:
            read()
            if case .succeeded = phase { return }
            become(.failed("the new server has gone"))
        case .connected, .tlsEstablished, .drained, .unsentBelowLimit: break
        }
    }

    private func read() {
        let words = connection.withInput { input -> [UInt8] in
            defer { input.drain(input.count) }
            return input.takeFirstSegment()
        }
        for word in words {
            switch (phase, word) {
            case (.offered, HandoverWord.take): become(.taken)
            case (.released, HandoverWord.serving): become(.succeeded)
            case (_, _): break
            }
        }
    }

    private func become(_ next: Phase) {
        deadline = nil
        phase = next
        changed(next)
    }

    static func refuse(_ connection: Connection, because reason: String) {
        connection.write([HandoverWord.refusal] + Array("\(reason)\n".utf8))
        connection.closeAfterFlush()
    }
}
