import DequeModule
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads

/// The workers of a service, for each other.
final class Colleagues: Sendable {
    private let paths: [AnswerPath<WorkerMessage>]
    private let hasEnded = Locked(false)

    init(_ paths: [AnswerPath<WorkerMessage>]) { self.paths = paths }

    /// Who serves the domains whose first mail exchanger is `host`.
    func home(of host: String) -> Int {
        Int(UInt(bitPattern: host.hashValue) % UInt(paths.count))
    }

    /// False: nobody takes anything any more.
    func post(_ message: WorkerMessage, to number: Int) -> Bool {
        // Under the lock, so that it's there before the worker is told to stop: mail that it doesn't
        // take note of would be answered by nobody.
        hasEnded.withLock { hasEnded in
            if !hasEnded { paths[number].post(message) }
            return !hasEnded
        }
    }

    /// Before workers are told to stop.
    func end() { hasEnded.withLock { $0 = true } }
}

/// Domains with the same mail exchangers.
extension DeliveryWorker {
    /// Gives what waits to the worker that serves all domains with these hosts: connections can't go
    /// from one thread to another. What is limited stays, with what was counted of it.
    ///
    /// - Returns: false when that is this worker.
    func handOver(_ queue: DestinationQueue, to hosts: [MailHost], _ resolution: Resolution) -> Bool
    {
        guard queue.isShared, queue.rate == nil, !isStopping,
            let best = hosts.map(\.preference).min(),
            let first = hosts.filter({ $0.preference == best }).map(\.name).min()
        else { return false }
        let home = colleagues.home(of: first)
        guard home != number,
            colleagues.post(
                .adopted(queue.destination, Array(queue.items), resolution), to: home)
        else { return false }
        queue.hosts = .unknown
        queue.items.removeAll()
        forgetIfUnused(queue)
        return true
    }

    /// Takes what another worker has handed over.
    func adopt(
        _ items: [DestinationQueue.Item], for destination: Destination, _ resolution: Resolution
    ) {
        guard !isStopping, let queue = queue(for: destination) else {
            for item in items {
                answer(
                    DeliveryOutcome(
                        id: item.id, destination: destination, results: .all(.notAttempted)))
            }
            return
        }
        queue.items.append(contentsOf: items)
        switch queue.hosts {
        case .asked: return
        case .known(_, let until) where now < until: serve(queue)
        case .known, .unknown:
            queue.hosts = .asked
            found(resolution, for: destination, isAdopted: true)
        }
    }

    /// Lets resting connections of other destinations to the same hosts take what waits.
    func borrow(for queue: DestinationQueue, to hosts: [MailHost]) {
        while !queue.items.isEmpty, !isHeldBack(queue),
            queue.window.size > queue.connections.count,
            let connection = shared.connection(for: queue, to: hosts)
        {
            let lender = connection.queue
            shared.remove(connection)
            lender.connections[ObjectIdentifier(connection)] = nil
            lender.idle.removeAll { $0 === connection }
            connection.move(to: queue)
            queue.standing = .proven(now)
            _ = queue.window.open()
            queue.connections[ObjectIdentifier(connection)] = connection
            connection.wake()
            forgetIfUnused(lender)
        }
    }
}
