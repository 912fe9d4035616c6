/// Every reply of a server session, in the order of their codes. No reply is written anywhere else.
extension Reply {
    // MARK: Success and intermediate

    static let readyForTLS = Reply(220, 0, 0, "Ready to start TLS")
    public static let bye = Reply(221, 0, 0, "Bye")
    static let loggedIn = Reply(235, 7, 0, "Authentication successful")
    public static let ok = Reply(250, 0, 0, "OK")
    public static let senderAccepted = Reply(250, 1, 0, "OK")
    public static let recipientAccepted = Reply(250, 1, 5, "OK")
    public static let messageAccepted = Reply(250, 0, 0, "Message accepted for delivery")
    public static let cannotVerify = Reply(
        252, 1, 5, "Cannot VRFY user, but will accept message and attempt delivery")
    static let emptyChallenge = Reply(plain: 334, lines: [""])
    /// `Username:` and `Password:` in base 64.
    static let userChallenge = Reply(plain: 334, lines: ["VXNlcm5hbWU6"])
    static let passwordChallenge = Reply(plain: 334, lines: ["UGFzc3dvcmQ6"])
    public static let startMailInput = Reply(
        plain: 354, lines: ["Start mail input; end with <CRLF>.<CRLF>"])

    /// `id` is printed as the spool prints it.
    public static func messageAccepted(id: [UInt8]) -> Reply {
        var octets = [UInt8](messageAccepted.octets.dropLast(2))
        octets.append(.space)
        octets.append(contentsOf: id)
        return Reply(
            code: 250, status: messageAccepted.enhancedStatus, octets: octets.endingLine())
    }

    static func chunkReceived(_ size: UInt64) -> Reply {
        Reply(250, 0, 0, "\(size) octets received")
    }

    // MARK: The connection ends

    /// Over `max_connections`.
    public static let tooManyConnections = Reply(421, 3, 2, "Too many connections, try later")
    /// Over `max_connections_per_ip`.
    public static let tooManyConnectionsFromAddress = Reply(
        421, 7, 0, "Too many connections from your address, try later")
    public static let shuttingDown = Reply(421, 3, 2, "Service shutting down")
    public static let timedOut = Reply(421, 4, 2, "Timeout, closing connection")
    /// A BDAT command whose size isn't understood: what follows can't be told from commands.
    static let unknownChunkSize = Reply(421, 5, 1, "Invalid BDAT size, closing connection")
    /// A user of plain `nc` reads this instead of waiting for ever.
    static let bareLineFeed = Reply(421, 5, 2, "Lines end with CRLF (nc -C)")
    public static let lastedTooLong = Reply(
        421, 4, 2, "Session lasted too long, closing connection")
    static let tooManyErrors = Reply(421, 7, 0, "Too many errors, closing connection")
    static let tooManyFailedLogins = Reply(
        421, 7, 0, "Too many failed logins, closing connection")
    /// Over `messages_per_connection`: a client that has more brings it over another connection.
    static let tooManyMessages = Reply(
        421, 7, 0, "Too many messages in this session, closing connection")
    /// What follows STARTTLS in clear text may be anybody's (CVE-2011-0411).
    static let octetsBehindStartTLS = Reply(
        554, 5, 1, "Nothing may follow STARTTLS before the handshake")
    static let spokeFirst = Reply(554, 5, 1, "Wait for the greeting before you speak")

    // MARK: Try later

    /// Over `rate_per_ip`.
    public static let rateExceeded = Reply(450, 7, 1, "Too many messages from you, try later")
    /// The directory or the route that knows who exists doesn't answer.
    public static let recipientUnavailable = Reply(
        451, 3, 0, "Cannot verify the recipient now, try later")
    /// An alias that leads in a circle: ours to mend, so that nothing is lost.
    public static let recipientMisconfigured = Reply(
        451, 3, 5, "The recipient's alias is misconfigured here, try later")
    static let tlsUnavailable = Reply(454, 7, 0, "TLS not available, try later")
    static let loginUnavailable = Reply(454, 7, 0, "Authentication not available, try later")
    /// A full disk, a spool or memory in trouble: ours, so never a 5xx.
    public static let insufficientStorage = Reply(
        452, 3, 1, "Insufficient system storage, try later")
    public static let tooManyRecipients = Reply(452, 5, 3, "Too many recipients")

    // MARK: Refused

    static let unknownCommand = Reply(500, 5, 1, "Command not recognized")
    static let lineTooLong = Reply(500, 5, 2, "Line too long")
    static let controlCharacters = Reply(500, 5, 2, "Control characters in command")
    static let authenticationLineTooLong = Reply(500, 5, 6, "Authentication line too long")
    static let badRecipientAddress = Reply(501, 1, 3, "Bad recipient address syntax")
    static let badSenderAddress = Reply(501, 1, 7, "Bad sender address syntax")
    static let undecodableResponse = Reply(501, 5, 2, "Cannot decode the response")
    static let noArgumentAllowed = Reply(501, 5, 4, "No argument allowed")
    static let greetingSyntax = Reply(501, 5, 4, "Syntax: EHLO hostname")
    static let mailSyntax = Reply(501, 5, 4, "Syntax: MAIL FROM:<address> [parameters]")
    static let rcptSyntax = Reply(501, 5, 4, "Syntax: RCPT TO:<address> [parameters]")
    static let vrfySyntax = Reply(501, 5, 4, "Syntax: VRFY address")
    static let chunkSyntax = Reply(501, 5, 4, "Syntax: BDAT size [LAST]")
    static let authSyntax = Reply(501, 5, 4, "Syntax: AUTH mechanism [initial-response]")
    static let xdebugSyntax = Reply(501, 5, 4, "Syntax: XDEBUG [STATE|CONNECTION|CONTEXT|HELP]")
    static let xclientSyntax = Reply(501, 5, 4, "Syntax: XCLIENT attribute=value...")
    static let parameterSyntax = Reply(501, 5, 4, "Bad parameter syntax")
    static let loginCancelled = Reply(501, 7, 0, "Authentication cancelled")
    static let notImplemented = Reply(502, 5, 1, "Command not implemented")
    static let needsGreeting = Reply(503, 5, 1, "Send EHLO first")
    static let needsMail = Reply(503, 5, 1, "Send MAIL first")
    static let needsRecipient = Reply(503, 5, 1, "Send RCPT first")
    static let nestedMail = Reply(503, 5, 1, "Sender already specified")
    static let chunksBegun = Reply(503, 5, 1, "Message transfer by BDAT has begun")
    static let alreadyLoggedIn = Reply(503, 5, 1, "Already authenticated")
    static let alreadyInsideTLS = Reply(503, 5, 1, "TLS is already active")
    static let notInTransaction = Reply(503, 5, 1, "Not during a mail transaction")
    static let unknownMechanism = Reply(504, 5, 4, "Authentication mechanism not supported")
    public static let loginRequired = Reply(530, 7, 0, "Authentication required")
    static let mustStartTLS = Reply(530, 7, 0, "Must issue STARTTLS first")
    /// The same for an unknown user as for a wrong password.
    static let loginFailed = Reply(535, 7, 8, "Authentication credentials invalid")
    static let loginNeedsTLS = Reply(
        538, 7, 11, "Encryption required for requested authentication mechanism")
    /// A client that sends a bare LF may mean, or be made to mean, another message's end.
    static let bareNewlineInContent = Reply(
        550, 6, 11, "Message contains a bare CR or LF; lines end with CRLF")
    public static let unknownRecipient = Reply(550, 1, 1, "No such user here")
    public static let messageTooLarge = Reply(552, 3, 4, "Message size exceeds the limit")
    static let needsSMTPUTF8 = Reply(553, 6, 7, "Non-ASCII address without SMTPUTF8")
    static let senderNotAllowed = Reply(553, 7, 1, "Sender address not allowed for this user")
    public static let relayingDenied = Reply(554, 7, 1, "Relaying denied")
    static let tooManyHops = Reply(554, 4, 6, "Too many Received fields, mail loop")
    static let unknownParameter = Reply(555, 5, 4, "Parameter not recognized")
}

extension [UInt8] {
    fileprivate consuming func endingLine() -> [UInt8] {
        append(.carriageReturn)
        append(.lineFeed)
        return self
    }
}
