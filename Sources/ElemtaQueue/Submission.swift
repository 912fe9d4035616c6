/// Content in memory, as the spool asks for it: how much there is, and its octets, lent one run
/// after the other. The server's byte chains conform.
public protocol SpoolContent: AnyObject, Sendable {
    /// Octets in all segments together.
    var octetCount: Int { get }

    /// Lends each segment in order. Called on the spool thread, more than once if a commit has to
    /// be tried again.
    func forEachSegment(_ body: (Span<UInt8>) -> Void)
}

/// Content that is one array: reports, and whatever was made in one piece.
public final class ContentOctets: SpoolContent {
    private let octets: [UInt8]

    public init(_ octets: [UInt8]) { self.octets = octets }

    public var octetCount: Int { octets.count }

    public func forEachSegment(_ body: (Span<UInt8>) -> Void) {
        let octets = octets
        body(octets.span)
    }
}

/// Where the content of a submission is.
public enum SubmittedContent: Sendable {
    case inMemory(any SpoolContent)
    /// Finished and synced; from here on the file is the spool's, refused or not.
    case file(FinishedContentFile)
}

/// A message for the spool.
public struct Submission: Sendable {
    /// Comes back in the acknowledgement; means nothing to the spool.
    public let token: UInt64
    public var envelope: Envelope
    public let content: SubmittedContent

    public init(token: UInt64, envelope: Envelope, content: SubmittedContent) {
        self.token = token
        self.envelope = envelope
        self.content = content
    }
}

/// What became of a submission. Success means that the commit has returned: the message survives
/// `kill -9` and power loss, and 250 may be said.
public struct Acknowledgement: Sendable {
    public let token: UInt64
    /// On a failure answer 452 4.3.1: nothing of the message is kept, nothing else has suffered.
    public let result: Result<MessageID, SpoolError>

    public init(token: UInt64, result: Result<MessageID, SpoolError>) {
        self.token = token
        self.result = result
    }
}

/// A message read back.
public struct StoredMessage: Sendable {
    public let envelope: Envelope
    public let content: StoredContent

    public init(envelope: Envelope, content: StoredContent) {
        self.envelope = envelope
        self.content = content
    }
}

/// Content as it was accepted, its checksum verified.
public enum StoredContent: Sendable {
    case memory([UInt8])
    case file(StoredContentFile)
}
