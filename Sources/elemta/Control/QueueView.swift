import ElemtaQueue

/// What `elemta queue` looks at and changes: the spool, or the messages of dev mode. Any thread.
protocol QueueView: Sendable {
    /// The next messages in order of arrival, at most `limit` of them examined, and where the next
    /// slice begins; nil at the end.
    func list(
        _ selection: QueueSelection, after: MessageID?, limit: Int
    ) throws(SpoolError) -> (messages: [MessageSummary], next: MessageID?)

    /// How the queue is looked at now.
    var sight: QueueSight { get }

    func show(_ id: MessageID) throws(SpoolError) -> Envelope

    func read(_ id: MessageID) throws(SpoolError) -> StoredMessage

    func statistics() throws(SpoolError) -> SpoolStatistics

    /// Messages by state and age, as they were a moment ago.
    var census: QueueCensus { get }

    /// See `Spool.perform`.
    func perform(
        _ operation: QueueOperation, on selection: QueueSelection,
        while wanted: @escaping @Sendable () -> Bool,
        progress: @escaping @Sendable (OperationProgress) -> Void)

    /// What stands against an operation, whatever the messages; nil: nothing.
    func objection(to operation: QueueOperation) -> String?

    /// What a list tells of each message last.
    var remark: QueueRemark { get }

    /// The message's subject, where `remark` is that.
    func subject(of id: MessageID) -> String?
}

/// What the last column of a list is about.
enum QueueRemark {
    /// Why the message is still here.
    case reason
    case subject
}

extension Spool: QueueView {
    func objection(to operation: QueueOperation) -> String? { nil }

    var remark: QueueRemark { .reason }

    func subject(of id: MessageID) -> String? { nil }
}
