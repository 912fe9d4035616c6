/// When the sender wants a report about a recipient: NOTIFY of RCPT (RFC 3461 4.1).
public struct NotifyConditions: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Stands alone: no report under any condition.
    public static let never = NotifyConditions(rawValue: 1)
    public static let success = NotifyConditions(rawValue: 2)
    public static let failure = NotifyConditions(rawValue: 4)
    public static let delay = NotifyConditions(rawValue: 8)

    /// The value as RCPT carries it, such as `SUCCESS,FAILURE`; empty when NOTIFY was absent.
    public var parameterValue: String {
        let names: [(NotifyConditions, String)] = [
            (.never, "NEVER"), (.success, "SUCCESS"), (.failure, "FAILURE"), (.delay, "DELAY"),
        ]
        return names.filter { contains($0.0) }.map(\.1).joined(separator: ",")
    }
}

/// How much of a message a report brings back: RET of MAIL (RFC 3461 4.3). The raw value is what
/// the parameter carries.
public enum ReturnContent: String, Hashable, Sendable {
    case full = "FULL"
    case headers = "HDRS"
}

/// What the content may hold: BODY of MAIL (RFC 6152, RFC 3030). The raw value is what the
/// parameter carries.
public enum BodyType: String, Hashable, Sendable {
    case sevenBit = "7BIT"
    case eightBitMIME = "8BITMIME"
    case binaryMIME = "BINARYMIME"
}

/// The recipient as the first sender knew it: ORCPT of RCPT (RFC 3461 4.2).
public struct OriginalRecipient: Hashable, Sendable {
    /// Such as `rfc822`, as written.
    public let addressType: [UInt8]
    /// The address with its xtext decoded: printable octets, or UTF-8 under SMTPUTF8.
    public let address: [UInt8]

    public init(addressType: [UInt8], address: [UInt8]) {
        self.addressType = addressType
        self.address = address
    }
}

/// What the parameters of MAIL say.
public struct MailParameters: Hashable, Sendable {
    /// SIZE (RFC 1870), octets.
    public var declaredSize: UInt64?
    /// BODY; `.sevenBit` when absent.
    public var bodyType: BodyType
    /// SMTPUTF8 (RFC 6531 3.4).
    public var smtputf8: Bool
    /// RET; nil when absent.
    public var returnContent: ReturnContent?
    /// ENVID with its xtext decoded (RFC 3461 4.4): printable ASCII.
    public var envelopeID: [UInt8]?
    /// REQUIRETLS (RFC 8689).
    public var requireTLS: Bool
    /// Who submitted the message first, with its xtext decoded: AUTH (RFC 4954 5), empty for
    /// `AUTH=<>`. Nil when absent, or said by a client that hasn't logged in and isn't believed.
    public var submitter: [UInt8]?

    public init(
        declaredSize: UInt64? = nil, bodyType: BodyType = .sevenBit, smtputf8: Bool = false,
        returnContent: ReturnContent? = nil, envelopeID: [UInt8]? = nil, requireTLS: Bool = false,
        submitter: [UInt8]? = nil
    ) {
        self.declaredSize = declaredSize
        self.bodyType = bodyType
        self.smtputf8 = smtputf8
        self.returnContent = returnContent
        self.envelopeID = envelopeID
        self.requireTLS = requireTLS
        self.submitter = submitter
    }
}
