import CLibevent
import Glibc

/// A stream socket with its buffers in both directions: one libevent `bufferevent`.
///
/// Belongs to the thread of its loop. Releasing the last reference closes it. The delegate is held
/// weakly. No event is delivered inside a call into the connection, and none after ``close()``.
@safe public final class Connection {
    // Each where it fills a gap: as they came to mind they took 44 octets more of each session. With these it has
    // 104, which malloc gives 112 for, and 128 for one more.

    /// Who is told; may be replaced at any time by the loop's thread. An object that a weak reference
    /// points to has 48 octets more: where connections are many, let them share one, and tell them apart
    /// by ``tag``.
    public weak var delegate: (any ConnectionDelegate)?
    // Kept so that the base is freed after the bufferevent.
    let base: EventBase
    weak var loop: EventLoop?
    /// Set by ``startTLS(server:isInputEncrypted:)`` and ``startTLS(client:name:)``.
    var security: TLSLayer?
    /// The owner's, for its delegate.
    public var tag: UInt64 = 0
    /// Freed when the connection is closed.
    var stream: BufferEvent?
    var reading = Reading.on
    var peer = Peer.sending
    var sending = Sending.byLoop
    var phase: Phase
    private(set) var isInputLent = false

    /// Above so many unsent octets ``ConnectionEvent/unsentBelowLimit`` is told once they are fewer.
    /// At most 2 GiB.
    public var unsentLimit: Int {
        get { Int(lowWater) }
        set {
            lowWater = Int32(newValue)
            stream?.setWriteLowWater(newValue)
        }
    }

    /// Octets that may wait in the input before the socket isn't read any more. One turn reads up
    /// to this much; a client whose octets nobody takes costs at most this and 4 KiB. At least as
    /// much as the owner ever needs to see in one piece.
    /// At most 2 GiB.
    public var inputLimit: Int {
        get { Int(inputMaximum) }
        set {
            let isMore = newValue > inputLimit
            inputMaximum = Int32(newValue)
            if isMore { readAgainUnlessFull() }
        }
    }

    /// Whether what is written is given to the kernel at once instead of when the loop turns; what is
    /// written while ``ConnectionEvent/readable`` is told goes in one piece at its end. Spares two
    /// epoll_ctl(2) and a turn for each reply. ``ConnectionEvent/drained`` isn't told of what went so.
    /// In clear only: TLS ends it.
    public var sendsAtOnce = false {
        didSet { if sendsAtOnce != oldValue { sendsAtOnceChanged() } }
    }

    var unsent = Unsent.belowLimit
    private var lowWater: Int32 = 16 * 1024
    private var inputMaximum = Int32(Connection.defaultInputLimit)

    enum Phase {
        case connecting
        case open
        /// Sends what is unsent, then says that nothing follows. Input is dropped.
        case flushing(ConnectionID)
        /// Everything is sent; waits for the peer to close. Input is dropped.
        case lingering(ConnectionID)
        case closed
    }

    enum Reading {
        case on
        /// The owner doesn't want more now.
        case paused
        /// As many octets wait in the input as may.
        case full
    }

    enum Peer {
        case sending
        /// Sends no more, which is told when the owner reads again.
        case ended
        case endTold
    }

    /// Who gives the output to the kernel.
    enum Sending {
        case byLoop
        /// We do, as soon as it is written.
        case atOnce
        /// We do, once the owner has looked at what was received.
        case afterInput
        /// The loop, until it has sent what the kernel wouldn't take at once.
        case rest
    }

    enum Unsent {
        case belowLimit
        case aboveLimit
        /// So many octets (their lower 32 bits) could not be sent although the socket was writable.
        case stalled(UInt32)
    }

    /// What ``inputLimit`` is at first.
    public static let defaultInputLimit = 64 * 1024
    /// libevent reads 4,096 octets at a time: so many mean that more may wait.
    static let singleRead = 4096
    /// One turn sends at most so many octets of one connection.
    static let singleWrite = 256 * 1024
    /// What a peer gets to take the rest of the output.
    private static let flushLimit = Duration.seconds(10)
    /// What a peer gets to close after it was told that nothing follows.
    static let lingerLimit = Duration.seconds(2)

    /// Makes a connection of an accepted socket and begins to read.
    public convenience init(
        loop: EventLoop, accepted: consuming AcceptedSocket, delegate: any ConnectionDelegate
    ) throws(ReactorError) {
        Socket.setNoDelay(accepted.descriptor.number)
        try self.init(
            loop: loop, descriptor: accepted.descriptor, phase: .open, delegate: delegate)
        stream?.enableReading()
    }

    private init(
        loop: EventLoop, descriptor: consuming OwnedDescriptor, phase: Phase,
        delegate: any ConnectionDelegate
    ) throws(ReactorError) {
        self.loop = loop
        base = loop.base
        self.phase = phase
        self.delegate = delegate
        stream = try BufferEvent(on: base, socket: descriptor)
        stream?.setWriteLowWater(unsentLimit)
        stream?.setMaximumSingleWrite(Self.singleWrite)
        installCallbacks()
    }

    /// Connects to `address`, from `source` where one is given (its port 0: any). Octets written
    /// before ``ConnectionEvent/connected`` are sent then. Throws what `socket`, `bind` and `connect`
    /// say at once; what comes later is ``ConnectionEvent/failed(_:)``.
    public static func connect(
        loop: EventLoop, to address: SocketAddress, from source: SocketAddress? = nil,
        timeout: Duration, delegate: any ConnectionDelegate
    ) throws(ReactorError) -> Connection {
        let descriptor = try Socket.make(address.family)
        if let source {
            // Else the kernel reserves a port for this source address alone, and runs out of them.
            Socket.set(Int32(IPPROTO_IP), IP_BIND_ADDRESS_NO_PORT, on: descriptor.number)
            try Socket.bind(descriptor.number, to: source)
        }
        Socket.setNoDelay(descriptor.number)
        if let path = address.unixPath {
            try UnixSocketPath(path, for: "connect").connect(descriptor.number)
        } else {
            try Socket.connect(descriptor.number, to: address)
        }
        let connection = try Connection(
            loop: loop, descriptor: descriptor, phase: .connecting, delegate: delegate)
        guard connection.stream?.awaitConnection(timeout: timeout) == true else {
            throw .current("bufferevent_socket_connect")
        }
        return connection
    }

    deinit {
        // Before the base is let go.
        stream = nil
    }

    /// The address on this side; nil once the connection is closed.
    public var localAddress: SocketAddress? {
        guard let descriptor = stream?.descriptor else { return nil }
        return Socket.localAddress(descriptor)
    }

    /// True once the connection is closed, by whomever.
    public var isClosed: Bool {
        if case .closed = phase { true } else { false }
    }

    // MARK: Reading

    /// Lends the input. Empty when the connection is closed.
    public func withInput<R: ~Copyable, E: Error>(
        _ body: (inout InputBuffer) throws(E) -> R
    ) throws(E) -> R {
        // Two at once could drain what a span of the other still shows.
        precondition(!isInputLent, "withInput inside withInput of the same connection")
        isInputLent = true
        var input = unsafe InputBuffer(stream?.input)
        defer {
            isInputLent = false
            readAgainUnlessFull()
        }
        return try body(&input)
    }

    /// Reads no more from the socket and tells of nothing readable, until ``resumeReading()``. That
    /// the peer has closed stays unknown meanwhile; a failure to write is told.
    public func pauseReading() {
        // A handshake is read for by libevent, however little the owner wants to read.
        if case .on = reading, !isShakingHands { stream?.disableReading() }
        reading = .paused
    }

    /// Reads (again). ``ConnectionEvent/readable`` follows, from the loop and not from inside this
    /// call, when octets wait in the input already; so a delegate that stops in the middle of its
    /// input lets others have their turn by calling this.
    public func resumeReading() {
        if case .paused = reading { startReading() }
        if inputCount > 0 || isEndHeld { stream?.scheduleReadCallback() }
    }

    // MARK: Writing

    /// Octets written that the kernel hasn't taken yet, files included. Under TLS what is encrypted
    /// already counts with what encryption adds.
    public var unsentCount: Int {
        (stream?.outputCount ?? 0) + (security?.unencrypted?.count ?? 0)
    }

    /// Copies `octets` behind the unsent ones; they are sent when the loop turns. Dropped once the
    /// connection is closing.
    public func write(_ octets: Span<UInt8>) {
        guard isWritable, let output = unsafe stream?.output else { return }
        if let security {
            security.output().append(octets)
            wroteUnencrypted()
        } else {
            wrote(unsafe Segments.append(octets, to: output))
        }
    }

    /// Copies `octets` behind the unsent ones.
    public func write(_ octets: [UInt8]) {
        write(octets.span)
    }

    /// Takes the segments of `chain` behind the unsent octets, without copying.
    public func write(_ chain: consuming ByteChain) {
        guard isWritable, let output = unsafe stream?.output else { return }
        if let security {
            security.output().append(chain)
            wroteUnencrypted()
        } else {
            wrote(unsafe chain.give(to: output))
        }
    }

    /// Sends `count` octets of `file` from `offset` on, behind what is unsent: by sendfile(2)
    /// (`evbuffer_file_segment`), under TLS a piece at a time as the peer takes them (mapped into
    /// memory, a file cut short would be a SIGBUS). The descriptor is closed when they are sent or the
    /// connection is gone. Throws `EIO` when the file is shorter than that, and what fstat(2) throws; a
    /// file cut short while it is sent fails the connection.
    public func writeFile(
        _ file: consuming OwnedDescriptor, offset: Int, count: Int
    ) throws(ReactorError) {
        var status = stat()
        // Safe because `status` is a local of the right type.
        guard unsafe fstat(file.number, &status) == 0 else { throw .current("fstat") }
        guard offset >= 0, count >= 0, offset <= status.st_size - count else {
            throw ReactorError("writeFile", code: EIO)
        }
        guard isWritable, count > 0, let output = unsafe stream?.output else { return }
        if let security {
            security.output().append(file, offset: offset, count: count)
            wroteUnencrypted()
        } else {
            wrote(unsafe Segments.append(file, offset: offset, count: count, to: output))
        }
    }

    // MARK: Closing

    /// Sends what is unsent, tells the peer that nothing follows and waits for it to close too
    /// (closing at once while it still sends would make its kernel throw away the last reply), at
    /// most 10 s and 2 s. Input is dropped from now on. The loop keeps the connection; the delegate,
    /// if it is still there, hears ``ConnectionEvent/closed`` and nothing else. Under TLS it ends with
    /// close_notify; in the middle of a handshake what was written since it began is lost.
    public func closeAfterFlush() {
        switch phase {
        case .flushing, .lingering, .closed: return
        case .connecting, .open: break
        }
        guard let loop else { return close() }
        sendLast()
        phase = .flushing(loop.adopt(closing: self, deadline: .now + Self.flushLimit))
        if isShakingHands { security?.dropOutput() }
        startReading()
        // Both from the loop: the caller may be in the middle of its input.
        if inputCount > 0 { stream?.scheduleReadCallback() }
        if unsentCount == 0 { stream?.scheduleWriteCallback() }
    }

    /// Closes now: what is unsent is lost and no event follows. May be called at any time, again too.
    public func close() {
        switch phase {
        case .flushing(let id), .lingering(let id): loop?.closing.remove(id)
        case .connecting, .open: break
        case .closed: return
        }
        phase = .closed
        // libevent goes on to write after the callback for `connected`; not any more.
        stream?.disable()
        stream = nil
        security = nil
    }
}
