import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// One connection to a server of a destination: connects, speaks, takes message after message from
/// the destination's queue.
///
/// Belongs to its worker's thread. Its deadline lies in the worker's table.
final class ClientConnection: ConnectionDelegate {
    enum Phase {
        /// Looking for a host that answers; the current target is the last that was taken.
        case opening
        /// Open, about to take a message or to rest.
        case ready
        /// Between two messages, in the queue's list of idle connections.
        case idle
        /// A message's content is being made ready for this server; nothing has been said about it.
        case preparing(DeliveryJob)
        case delivering(DeliveryJob)
        case closed
    }

    unowned let worker: DeliveryWorker
    /// Another one after `move`.
    private(set) var queue: DestinationQueue
    var id: ConnectionID?
    var phase = Phase.opening
    var target: DeliveryTarget
    var furtherTargets: ArraySlice<DeliveryTarget>
    var failures: [FailureReason] = []
    var connection: Connection?
    /// While `opening`, until a host has answered.
    var race: HostRace?
    var session: ClientSession
    /// For what is sent from now on.
    var channel = DeliveryEvent.Channel.clear(cause: nil)
    private var sender: ContentSender?
    private var messageCount = 0
    private var repliesSeen = 0
    /// When the server was heard last: connected, greeted, replied, agreed on TLS. At first, when the
    /// connection was begun.
    private(set) var latestSign: MonotonicTime
    /// The destination was silent when it was tried before.
    let isSecondLook: Bool
    /// Octets of content handed to the connection, and how many of them had been sent when progress
    /// was last seen.
    private var handedCount = 0
    private var sentMark = 0

    init(worker: DeliveryWorker, queue: DestinationQueue, targets: [DeliveryTarget]) {
        self.worker = worker
        self.queue = queue
        target = targets[0]
        furtherTargets = targets[...]
        latestSign = worker.now
        isSecondLook = queue.standing.isSilent
        session = ClientSession(heloName: worker.heloName)
    }

    var isResting: Bool {
        if case .idle = phase { true } else { false }
    }

    var isOpening: Bool {
        if case .opening = phase { true } else { false }
    }

    /// In a mail transaction whose content the server hasn't asked for. Cut later, it may become a
    /// duplicate.
    var isBeforeContent: Bool {
        guard case .delivering = phase else { return false }
        switch session.stage {
        case .mail, .recipient, .data: return true
        case .closed, .content, .endOfData, .greeting, .handshake, .hello, .idle, .login, .quit,
            .startTLS:
            return false
        }
    }

    /// Whether a message before went well enough for the next.
    var hasTakenMail: Bool { messageCount > 0 }

    // MARK: Events

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        guard connection === self.connection else { return }
        switch event {
        case .connected: setDeadline()
        case .tlsEstablished: established()
        case .readable: read()
        case .drained, .unsentBelowLimit: sendMore()
        case .closedByPeer: lost(nil)
        case .failed(let error): lost(error)
        case .closed: worker.parted(self)
        }
    }

    private func read() {
        while let connection, !connection.isClosed {
            // A reply that comes before all is sent can't be about all of it.
            if sender == nil, connection.unsentCount == 0 { session.contentSent() }
            let step = connection.withInput { input -> (left: Int, action: ClientAction)? in
                guard input.count > 0 else { return nil }
                let (consumed, action) = input.withFirstSegment { session.next(in: $0) }
                input.drain(consumed)
                return (input.count, action)
            }
            guard let step else { break }
            perform(step.action)
            if step.left == 0 { break }
        }
        guard connection?.isClosed == false, session.replyCount != repliesSeen else { return }
        setDeadline()
        if isOpening { worker.answered(self) }
    }

    /// The deadline of what is awaited now, from now.
    func setDeadline() {
        repliesSeen = session.replyCount
        latestSign = worker.now
        let limit: Duration? =
            if case .idle = phase { worker.settings.idleConnection } else {
                worker.settings.timeouts.limit(for: session.stage)
            }
        worker.setDeadline(limit, of: self)
    }

    /// The deadline has come.
    func expired() {
        switch phase {
        case .closed: return
        case .idle: return quit()
        case .opening, .ready, .preparing: return timeOut()
        case .delivering: break
        }
        guard session.stage == .content, let connection else {
            return timeOut()
        }
        let sent = handedCount - connection.unsentCount
        guard sent >= sentMark + DeliveryTimeouts.progress else {
            return timeOut()
        }
        sentMark = sent
        setDeadline()
    }

    /// What is awaited doesn't come in time.
    func timeOut() { perform(session.interrupt(.timedOut)) }

    private func lost(_ error: ReactorError?) {
        switch phase {
        case .closed: return
        case .idle: return close()
        case .opening:
            if let error, session.stage == .greeting, session.replyCount == 0 {
                return openingFailed(FailureReason(error, to: target))
            }
            if session.stage == .handshake, let reason = error?.reason {
                return perform(session.handshakeEnded(.failed(reason)))
            }
        case .ready, .preparing, .delivering: break
        }
        perform(session.interrupt(.connectionLost))
    }

    // MARK: Actions

    func perform(_ action: ClientAction) {
        switch action {
        case .none: return
        case .send(let octets): connection?.write(octets)
        case .startTLS: startTLS()
        case .sendContent(let transfer): beginContent(transfer)
        case .ready:
            queue.isGood(target.address)
            phase = .ready
            worker.opened(self)
            proceed()
        case .ended(let result):
            settle(result)
            proceed()
        case .close(let failure): refused(failure)
        }
    }

    /// Goes on with the message under way, the next one, or to rest. A loop, since a message that
    /// can't be sent to this server ends at once.
    private func proceed() {
        while session.isReady {
            guard let job = nextJob() else { return }
            if isAwaitingContent(of: job) { return }
            let action = session.begin(job.transaction)
            guard case .ended(let result) = action else {
                perform(action)
                return setDeadline()
            }
            settle(result)
        }
        close()
    }

    private func nextJob() -> DeliveryJob? {
        if case .delivering(let job) = phase { return job }
        guard messageCount < worker.settings.messagesPerConnection, !worker.isStopping else {
            quit()
            return nil
        }
        guard let job = worker.nextJob(of: queue) else {
            // Resting would keep those who wait for a connection until the idle time is over.
            if worker.isRoomWanted { quit() } else { rest() }
            return nil
        }
        phase = .delivering(job)
        return job
    }

    private func rest() {
        phase = .idle
        queue.idle.append(self)
        worker.shared.add(self)
        setDeadline()
    }

    /// Serves another destination from now on, whose hosts are the same. Only while it rests.
    func move(to other: DestinationQueue) { queue = other }

    /// Takes a message, after a rest.
    func wake() {
        worker.shared.remove(self)
        phase = .ready
        proceed()
    }

    // MARK: Content

    /// Has the content made ready for this server; true: `contentReady` follows.
    private func isAwaitingContent(of job: DeliveryJob) -> Bool {
        let isEncoded = job.mayBeConverted && session.needsSevenBits(job.transaction)
        if job.isOpened, !isEncoded { return false }
        if case .memory(let octets) = job.content,
            octets.count <= ContentPreparation.smallCount
        {
            job.convert(octets)
            return false
        }
        phase = .preparing(job)
        worker.setDeadline(nil, of: self)
        worker.prepare(job, inSevenBits: isEncoded, for: self)
        return true
    }

    /// What `ContentPreparation` has made of the content.
    func contentReady(_ outcome: ContentPreparation.Outcome) {
        guard case .preparing(let job) = phase else { return }
        phase = .delivering(job)
        switch outcome {
        case .ready(let content, let summary):
            job.take(content, summary)
            proceed()
        case .failed(let error):
            phase = .ready
            worker.contentFailed(job, error, of: queue)
            if case .noDescriptors = error { quit() } else { proceed() }
        }
    }

    private func beginContent(_ transfer: ContentTransfer) {
        guard case .delivering(let job) = phase else { return }
        handedCount = 0
        sentMark = 0
        sender = ContentSender(job.content, as: transfer)
        sendMore()
    }

    private func sendMore() {
        guard let connection, session.stage == .content else { return }
        do throws(ContentSender.Failure) {
            let before = connection.unsentCount
            if case .complete? = try sender?.send(over: connection) { sender = nil }
            handedCount += connection.unsentCount - before
        } catch {
            return abandonContent(error)
        }
        guard sender == nil, connection.unsentCount == 0 else { return }
        session.contentSent()
        setDeadline()
    }

    /// The content can't be read: the connection is cut before the end of data, so that the server
    /// throws away what it has.
    private func abandonContent(_ failure: ContentSender.Failure) {
        sender = nil
        connection?.close()
        perform(session.interrupt(.abandoned(failure.reason)))
    }

    // MARK: Ends

    private func settle(_ result: TransactionResult) {
        guard case .delivering(let job) = phase else { return }
        sender = nil
        // The server closed a kept connection while it rested: nothing is known against the message.
        if result.isUntried, messageCount > 0 {
            phase = .ready
            worker.returnItem(of: job, to: queue)
            return
        }
        worker.settle(job, result, over: self, reportsFollow: session.extensions.dsn)
        if session.isReady, !job.isComplete { return }
        messageCount += 1
        phase = .ready
        worker.finish(job, of: queue)
    }

    private func quit() {
        if case .send(let octets) = session.quit() { connection?.write(octets) }
        if let connection, !connection.isClosed {
            connection.closeAfterFlush()
            worker.parting(self)
        }
        leave()
    }

    func close() {
        connection?.close()
        leave()
    }

    private func leave() {
        if case .closed = phase { return }
        race?.cancel()
        race = nil
        let wasOpening = isOpening
        // Nothing is known against a message that nobody was told of.
        if case .preparing(let job) = phase { worker.returnItem(of: job, to: queue) }
        phase = .closed
        worker.closed(self, wasOpening: wasOpening)
    }

    /// Another destination gets the place; nothing is told.
    func leavePlace() {
        race?.cancel()
        race = nil
        connection?.close()
        connection = nil
        phase = .closed
    }

    /// The worker stops: rests and attempts to connect end at once, and, when `atOnce`, so does a
    /// message under way, which counts as not tried.
    func stop(atOnce: Bool) {
        switch phase {
        case .idle: quit()
        case .opening, .ready, .preparing: close()
        case .delivering(let job):
            guard atOnce else { return }
            let mayBeDuplicated = session.stage == .endOfData
            connection?.close()
            phase = .ready
            worker.giveBack(job, over: self, mayBeDuplicated: mayBeDuplicated)
            leave()
        case .closed: break
        }
    }
}
