/// What to do with a line that ends with LF alone (`limits.bare_newline`).
public enum BareNewline: Sendable {
    /// A command line is answered 421 and the connection closed; a message is refused.
    case reject
    /// The line is a line. Content gets the missing CR; the data never ends by it.
    case normalize
}

/// What the sessions of a listener have in common; shared, so that a session stays small.
public final class ServerParameters: Sendable {
    /// The name in the greeting and in `Received:` fields.
    public let hostname: String
    /// Octets of content; also what SIZE advertises (RFC 1870).
    public let maximumMessageSize: UInt64
    /// Recipients of a transaction; those beyond are answered 452 4.5.3 (RFC 5321 4.5.3.1.10).
    public let maximumRecipients: Int
    /// Errors that are answered; the next one closes the session.
    public let maximumErrors: Int
    public let bareNewline: BareNewline
    /// Messages that a session may bring; 0: as many as it likes.
    public let maximumMessages: Int
    public let offer: ServerOffer

    let greeting: Reply
    private let heloStart: [UInt8]
    private let ehloStart: [UInt8]
    /// What follows the first line of the reply to EHLO, by `EHLOVariant`.
    private let ehloRests: [[UInt8]]

    public init(
        hostname: String, maximumMessageSize: UInt64 = 26_214_400, maximumRecipients: Int = 1000,
        maximumErrors: Int = 20, bareNewline: BareNewline = .reject, maximumMessages: Int = 0,
        offer: ServerOffer = ServerOffer()
    ) {
        self.hostname = hostname
        self.maximumMessageSize = maximumMessageSize
        self.maximumRecipients = maximumRecipients
        self.maximumErrors = maximumErrors
        self.bareNewline = bareNewline
        greeting = Reply(plain: 220, lines: ["\(hostname) ESMTP elemta ready"])
        heloStart = Array("250 \(hostname) Hello ".utf8)
        ehloStart = Array("250-\(hostname) Hello ".utf8)
        self.maximumMessages = maximumMessages
        self.offer = offer
        ehloRests = EHLOVariant.all.map { variant in
            Reply(
                plain: 250, lines: Self.keywords(offer, maximumMessageSize, for: variant)
            ).octets
        }
    }

    /// What the reply to EHLO depends on besides the parameters.
    struct EHLOVariant {
        let isInsideTLS: Bool
        let mayUseXCLIENT: Bool

        var index: Int { (isInsideTLS ? 1 : 0) + (mayUseXCLIENT ? 2 : 0) }

        /// In the order of their indices.
        static let all = [false, true].flatMap { mayUseXCLIENT in
            [false, true].map { EHLOVariant(isInsideTLS: $0, mayUseXCLIENT: mayUseXCLIENT) }
        }
    }

    private static func keywords(
        _ offer: ServerOffer, _ maximumMessageSize: UInt64, for variant: EHLOVariant
    ) -> [String] {
        var keywords = [
            "SIZE \(maximumMessageSize)", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING",
            "DSN", "PIPELINING",
        ]
        if variant.isInsideTLS {
            if offer.offersRequireTLS { keywords.append("REQUIRETLS") }
        } else if case .startTLS = offer.tls {
            keywords.append("STARTTLS")
        }
        if !offer.mechanisms.isEmpty, variant.isInsideTLS || !offer.authenticationNeedsTLS {
            keywords.append((["AUTH"] + offer.mechanisms.map(\.rawValue)).joined(separator: " "))
        }
        if offer.isDevelopment { keywords.append("XDEBUG") }
        if variant.mayUseXCLIENT { keywords.append("XCLIENT NAME ADDR PORT PROTO HELO LOGIN") }
        return keywords + ["HELP"]
    }

    /// The reply to HELO. `name` has passed the grammar, so that echoing it is harmless.
    func heloReply(to name: [UInt8]) -> Reply {
        Reply(code: 250, status: nil, octets: Self.line(heloStart, name))
    }

    /// The reply to EHLO.
    func ehloReply(
        to name: [UInt8],
        _ variant: EHLOVariant = EHLOVariant(isInsideTLS: false, mayUseXCLIENT: false)
    ) -> Reply {
        Reply(
            code: 250, status: nil,
            octets: Self.line(ehloStart, name) + ehloRests[variant.index])
    }

    /// One line, without the client's name where the two together are too long for a reply.
    private static func line(_ start: [UInt8], _ name: [UInt8]) -> [UInt8] {
        var octets = start
        if octets.count + name.count + 2 <= Reply.maximumLineLength {
            octets.append(contentsOf: name)
        } else {
            octets.removeLast(" Hello ".utf8.count)
        }
        octets.append(.carriageReturn)
        octets.append(.lineFeed)
        return octets
    }
}
