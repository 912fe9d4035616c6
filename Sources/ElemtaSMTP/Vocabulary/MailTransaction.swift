/// A recipient that was answered 250.
public struct AcceptedRecipient: Hashable, Sendable {
    public let path: ForwardPath
    /// Empty when NOTIFY was absent.
    public let notify: NotifyConditions
    public let originalRecipient: OriginalRecipient?

    public init(
        path: ForwardPath, notify: NotifyConditions = [],
        originalRecipient: OriginalRecipient? = nil
    ) {
        self.path = path
        self.notify = notify
        self.originalRecipient = originalRecipient
    }
}

/// The envelope of a mail transaction (RFC 5321 3.3): what MAIL and RCPT have said.
public struct MailTransaction: Hashable, Sendable {
    public var reversePath: ReversePath
    public var parameters: MailParameters
    /// In the order in which they were accepted.
    public var recipients: [AcceptedRecipient]

    public init(
        reversePath: ReversePath, parameters: MailParameters = MailParameters(),
        recipients: [AcceptedRecipient] = []
    ) {
        self.reversePath = reversePath
        self.parameters = parameters
        self.recipients = recipients
    }
}
