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

    let greeting: Reply
    private let heloStart: [UInt8]
    private let ehloStart: [UInt8]
    private let ehloRest: [UInt8]

    public init(
        hostname: String, maximumMessageSize: UInt64 = 26_214_400, maximumRecipients: Int = 1000,
        maximumErrors: Int = 20, bareNewline: BareNewline = .reject
    ) {
        self.hostname = hostname
        self.maximumMessageSize = maximumMessageSize
        self.maximumRecipients = maximumRecipients
        self.maximumErrors = maximumErrors
        self.bareNewline = bareNewline
        greeting = Reply(plain: 220, lines: ["\(hostname) ESMTP elemta ready"])
        heloStart = Array("250 \(hostname) Hello ".utf8)
        ehloStart = Array("250-\(hostname) Hello ".utf8)
        ehloRest =
            Reply(
                plain: 250,
                lines: [
                    "SIZE \(maximumMessageSize)", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES",
                    "CHUNKING", "DSN", "PIPELINING", "HELP",
                ]
            ).octets
    }

    /// The reply to HELO. `name` has passed the grammar, so that echoing it is harmless.
    func heloReply(to name: [UInt8]) -> Reply {
        Reply(code: 250, status: nil, octets: Self.line(heloStart, name))
    }

    /// The reply to EHLO.
    func ehloReply(to name: [UInt8]) -> Reply {
        Reply(code: 250, status: nil, octets: Self.line(ehloStart, name) + ehloRest)
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

/// Who the other side of a session is.
public struct ClientIdentity: Hashable, Sendable {
    public var address: IPAddress

    public init(address: IPAddress) { self.address = address }
}
