import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import Logging

/// Where accepted messages go: into the durable queue, or in dev mode to the developer.
///
/// Made and called on the reactor thread; `queue` is for any thread.
protocol AcceptedMessages: AnyObject {
    /// The next message's id.
    func nextID() -> MessageID

    /// Whether there is room for one more message. When there isn't, MAIL is answered 452 4.3.1.
    var hasRoom: Bool { get }

    /// Where content goes that grows long. `envelope` is asked for when the first octet goes there.
    func overflow(of envelope: @escaping () -> Envelope) -> IncomingContent.Overflow

    /// Begins to take messages.
    ///
    /// - Parameter acknowledge: gets the result of every submission, on any thread, as soon as 250
    ///   may be said and never before.
    /// - Throws: what keeps the server from starting.
    func start(acknowledge: @escaping @Sendable ([Acknowledgement]) -> Void) throws

    /// Takes a message. `session` is what the log calls the session that it came from.
    func accept(_ submission: Submission, session: SessionID)

    /// A message was answered 250: for the log.
    func answered(_ envelope: Envelope, session: SessionID)

    /// What `elemta queue` looks at.
    var queue: any QueueView { get }

    /// By what rules they leave; nil: they don't.
    var rules: DeliveryRules? { get }

    /// Whether nothing can be accepted, whatever room there is: the disk or the spool is in trouble.
    var isRefusing: Bool { get }

    /// How much waits for which threads.
    var backlogs: [(pool: String, count: Int)] { get }

    /// Takes other settings over; `rules` are others then.
    ///
    /// - Parameters:
    ///   - delivery: of the same configuration; nil in dev mode.
    ///   - isRouting: whether mail may go elsewhere from now on.
    /// - Throws: when something that is needed now can't be started; then nothing has changed.
    func change(
        _ configuration: Configuration, _ delivery: DeliverySettings?, isRouting: Bool
    ) throws

    /// What the line `ready` says of it.
    var readyFields: LogFields { get }

    /// Ends; what was accepted before is safe as far as it was promised to be.
    func stop()
}
