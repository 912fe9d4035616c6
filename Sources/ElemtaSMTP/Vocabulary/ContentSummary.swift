/// Fields of a header section that whoever submits a message should have written (RFC 6409 8).
public struct HeaderFields: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let date = HeaderFields(rawValue: 1)
    public static let messageID = HeaderFields(rawValue: 2)
}

/// What was seen while the content of a message went by: enough to know how it can be sent on.
public struct ContentSummary: Hashable, Sendable {
    /// What the content holds beside lines of text.
    public struct Traits: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8

        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// An octet above 127.
        public static let eightBit = Traits(rawValue: 1)
        public static let nul = Traits(rawValue: 2)
        /// A CR that no LF follows.
        public static let bareCarriageReturn = Traits(rawValue: 4)
        /// An LF that no CR precedes.
        public static let bareLineFeed = Traits(rawValue: 8)
        /// Content that doesn't end with CRLF, which DATA can't express.
        public static let unfinishedLine = Traits(rawValue: 16)
        /// A `TLS-Required: No` field in the header section (RFC 8689 5): rather without TLS than
        /// not at all. Means nothing beside REQUIRETLS.
        public static let tlsNotRequired = Traits(rawValue: 32)
        /// An octet above 127 in the header section, where it can't be encoded.
        public static let eightBitHeader = Traits(rawValue: 64)
    }

    /// Octets of content, as they are kept.
    public var octetCount: UInt64
    public var traits: Traits
    /// Octets of the longest line without its end. RFC 5321 4.5.3.1.6 asks everyone to take 998.
    public var longestLine: UInt64
    /// `Received:` fields of the header section (RFC 5321 6.3).
    public var receivedFieldCount: UInt32
    /// Those that the header section has. Of use while the message is accepted: no spool keeps it.
    public var fields: HeaderFields = []

    public init(
        octetCount: UInt64 = 0, traits: Traits = [], longestLine: UInt64 = 0,
        receivedFieldCount: UInt32 = 0
    ) {
        self.octetCount = octetCount
        self.traits = traits
        self.longestLine = longestLine
        self.receivedFieldCount = receivedFieldCount
    }

    public var isEightBit: Bool { traits.contains(.eightBit) }

    /// DATA can't carry this content octet by octet, and a bare CR or LF in it could be taken for
    /// the end of the data by the next hop (CVE-2023-51764): send it by BDAT or not at all.
    public var unsafeForData: Bool {
        !traits.isDisjoint(with: [.bareCarriageReturn, .bareLineFeed, .unfinishedLine])
    }
}
