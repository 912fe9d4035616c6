import DequeModule
import ElemtaReactor

/// The end: connections rest no more, messages under way get a grace time.
extension DeliveryWorker {
    func stop(_ grace: Duration) {
        guard !isStopping else { return }
        phase = .stopping(
            loop.after(grace) { [unowned self] in
                stopConnections(atOnce: true)
                partingConnections = [:]
                endIfStopped()
            })
        for queue in queues.values {
            while let item = queue.items.popFirst() { notAttempted(item, of: queue) }
        }
        stopConnections(atOnce: false)
        endIfStopped()
    }

    private func stopConnections(atOnce: Bool) {
        var all: [ClientConnection] = []
        table.forEach { all.append($1) }
        for connection in all { connection.stop(atOnce: atOnce) }
    }

    func endIfStopped() {
        guard isStopping, table.count == 0, partingConnections.isEmpty else { return }
        flushOutcomes()
        loop.stop()
    }
}
