import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads
import Logging

/// Dev mode: accepted messages are logged and kept in memory to be looked at, and nothing of them
/// reaches the disk or another machine.
///
/// The queue in `queue_dir` isn't opened, only held, so that nobody else delivers from it while
/// `control.sock` there answers for these messages.
final class CapturedMessages: AcceptedMessages {
    /// Octets of the addresses that a log line names.
    private static let addressesLength = 512

    private let shelf: MessageShelf
    private let lock: QueueLock
    private let ids = MessageIDSource()
    private let listeners: [Configuration.ListenAddress]
    private let log: Logger
    private var acknowledge: @Sendable ([Acknowledgement]) -> Void = { _ in }

    /// Holds the queue.
    ///
    /// - Throws: `SpoolError`.
    init(_ configuration: Configuration, log: Logger) throws(SpoolError) {
        self.log = log
        listeners = configuration.listeners.map(\.address)
        lock = try QueueLock(configuration.queueDir)
        shelf = MessageShelf()
    }

    func nextID() -> MessageID { ids.next() }

    /// The oldest messages make room.
    var hasRoom: Bool { true }

    var isRefusing: Bool { false }

    var backlogs: [(pool: String, count: Int)] { [] }

    func overflow(of envelope: @escaping () -> Envelope) -> IncomingContent.Overflow { .refused }

    func start(acknowledge: @escaping @Sendable ([Acknowledgement]) -> Void) {
        self.acknowledge = acknowledge
        log.write(
            .devMode,
            [
                .delivery: "none, accepted messages are only kept in memory until the server ends",
                .keptMessages: "\(MessageShelf.Limits().messages)",
                .keptOctets: "\(MessageShelf.Limits().octets)",
            ])
        let exposed = listeners.filter { !($0.host?.isLoopback ?? false) }
        guard !exposed.isEmpty else { return }
        log.write(
            .devModeExposed,
            [
                .listeners: "\(exposed.map(\.description).joined(separator: ","))",
                .advice: "--listen 127.0.0.1:2525 keeps other machines out",
            ])
    }

    func accept(_ submission: Submission, session: SessionID) {
        switch submission.content {
        case .inMemory(let content):
            let message = CapturedMessage(submission.envelope, content)
            let isKept = shelf.put(message)
            report(message, session: session, isKept: isKept)
            acknowledge([Acknowledgement(token: submission.token, result: .success(message.id))])
        case .file(let file):
            // Nothing here asks for files: see `overflow(of:)`.
            file.discard()
            acknowledge([Acknowledgement(token: submission.token, result: .failure(.stopped))])
        }
    }

    private func report(_ message: CapturedMessage, session: SessionID, isKept: Bool) {
        let envelope = message.envelope
        var fields: LogFields = [
            .id: "\(message.id)", .session: "\(session)", .from: "\(envelope.reversePath)",
            .to: "\(addresses(of: envelope))", .recipients: "\(envelope.recipients.count)",
            .octets: "\(envelope.summary.octetCount)",
            .protocolName: "\(envelope.client.protocolName)",
        ]
        if let client = envelope.client.address { fields[.client] = "\(client)" }
        if let user = envelope.client.user { fields[.user] = "\(user)" }
        if let subject = message.subject { fields[.subject] = "\(subject)" }
        if !isKept { fields[.kept] = "no, it is too large" }
        log.write(.messageReceived, fields)
    }

    private func addresses(of envelope: Envelope) -> String {
        ForwardPath.abridged(envelope.recipients.map(\.path), octetLimit: Self.addressesLength)
    }

    /// `message_received` has said it all.
    func answered(_ envelope: Envelope, session: SessionID) {}

    func change(
        _ configuration: Configuration, _ delivery: DeliverySettings?, isRouting: Bool
    ) {}

    var queue: any QueueView { shelf }

    var rules: DeliveryRules? { nil }

    var readyFields: LogFields {
        [.devMode: "yes", .queue: "none, messages stay in memory"]
    }

    /// The messages go with the process.
    func stop() {}
}
