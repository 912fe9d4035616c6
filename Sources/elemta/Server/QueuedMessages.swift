import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaSMTP
import Logging

/// Accepted messages go to the spool and from there to the next hop.
final class QueuedMessages: AcceptedMessages {
    /// What deliveries get to reach their message's end; what doesn't is tried again by the next
    /// server.
    private static let deliveryGrace = Duration.seconds(5)

    private let spool: Spool
    private let files: FilesPool
    private let delivery: DeliveryService
    private var spillThreshold: Int
    private let directory: String
    private let log: Logger

    /// Opens the queue and starts the files pool.
    ///
    /// - Throws: `SpoolError`, `ThreadError`.
    init(_ configuration: Configuration, counters: DeliveryCounters, log: Logger) throws {
        self.log = log
        directory = configuration.queueDir
        spillThreshold = configuration.limits.spillThreshold
        spool = try Spool.open(
            SpoolOptions(configuration) { event in
                if case .opening = event { PendingSignals.keepStops() }
                counters.count(event)
                SpoolLog.write(event, to: log)
            })
        files = try FilesPool()
        let settings = try DeliverySettings(configuration)
        delivery = DeliveryService(settings) { event in
            counters.count(event)
            DeliveryLog.write(event, to: log)
        }
        rules = DeliveryRules(configuration, delivery)
        warn(of: settings)
    }

    private func warn(of settings: DeliverySettings) {
        for route in settings.routes {
            guard let obstacle = route.obstacle else { continue }
            log.write(.routeObstructed, [.problem: "\(obstacle)"])
        }
    }

    func change(
        _ configuration: Configuration, _ settings: DeliverySettings?, isRouting: Bool
    ) throws {
        guard let settings else { return }
        let routed = try delivery.change(settings)
        spool.change(SpoolOptions(configuration), dispatch: routed, isRouting: isRouting)
        spillThreshold = configuration.limits.spillThreshold
        rules = DeliveryRules(configuration, routed)
        warn(of: settings)
    }

    func nextID() -> MessageID { spool.ids.next() }

    var hasRoom: Bool { spool.hasRoom }

    var isRefusing: Bool { spool.isRefusing }

    var backlogs: [(pool: String, count: Int)] {
        [("files", files.backlog), ("spool", spool.backlog)] + delivery.backlogs
    }

    func overflow(of envelope: @escaping () -> Envelope) -> IncomingContent.Overflow {
        .file(threshold: spillThreshold) { [spool, files] in
            SpillFile(spool.contentFile(for: envelope()), pool: files)
        }
    }

    func start(acknowledge: @escaping @Sendable ([Acknowledgement]) -> Void) throws {
        try delivery.start(spool: spool)
        try spool.start(acknowledge: acknowledge, dispatch: delivery)
    }

    func accept(_ submission: Submission, session: SessionID) {
        spool.accept(submission)
    }

    func answered(_ envelope: Envelope, session: SessionID) {
        var fields: LogFields = [
            .id: .described(envelope.id), .session: .described(session),
            .client: envelope.client.address.map { .described($0) } ?? "",
            .from: .described(envelope.reversePath),
            .recipients: .number(envelope.recipients.count),
            .octets: .number(Int(clamping: envelope.summary.octetCount)),
            .protocolName: .text(envelope.client.protocolName),
        ]
        if let user = envelope.client.user { fields[.user] = "\(user)" }
        log.write(.messageAccepted, fields)
    }

    var queue: any QueueView { spool }

    private(set) var rules: DeliveryRules?

    var readyFields: LogFields { [.queue: "\(directory)"] }

    /// Deliveries stop at their next message boundary and tell the spool, which commits what it has
    /// before it closes.
    func stop() {
        delivery.stop(grace: Self.deliveryGrace)
        files.stop()
        spool.stop()
    }
}
