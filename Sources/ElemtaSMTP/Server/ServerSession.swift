/// The server's side of one SMTP session (RFC 5321), from the greeting to QUIT.
///
/// It does no I/O, keeps no clock and calls nobody back. The driver shows it the unread input
/// (`next(in:)`), does what the `Step` says, and calls again until nothing more is to be done:
///
/// - after `.keep`, `.keepLineEnd`, `.drop` and `.act` call again, also when the input is empty now;
/// - after `.needMore` wait for input;
/// - after `.ask` read nothing until the verdict has gone to `resume(with:)`; the action that it
///   returns may ask again.
///
/// Replies don't depend on where the input was cut.
public struct ServerSession: ~Copyable {
    /// What the client has said it is.
    private enum Introduction {
        case none, helo, ehlo
    }

    /// Where the session is. Indirect: tens of thousands of sessions are idle, which holds nothing,
    /// while the longest of the others would take 145 octets of each.
    indirect enum Phase {
        /// No transaction. Commands come.
        case idle
        /// MAIL was accepted, RCPT perhaps. Commands come.
        case transaction(MailTransaction)
        /// DATA was accepted. Content comes.
        case data(MailTransaction, DataDecoder)
        /// Between two chunks. Commands come.
        case chunks(MailTransaction, ChunkedContent)
        /// Inside a chunk.
        case chunk(MailTransaction, ChunkedContent, Chunk)
        /// A chunk was refused, and with it the message. Commands come; chunks that the client has
        /// already sent behind it get the same reply, up to the last one.
        case refusedChunks(Reply)
        /// Octets that a refused BDAT announced: without counting them the next command is lost.
        case skippedChunk(remaining: UInt64, then: AfterChunk)
        /// A challenge of AUTH was sent.
        case authenticating(SASLExchange)
        /// An answer is held back.
        case delayed(Delayed)
        /// TLS is being negotiated.
        case handshake
        case asking(Pending)
        case closed
    }

    /// What the client's next response is (RFC 4954 4).
    enum SASLExchange {
        case plain
        case loginUser
        case loginPassword(user: [UInt8])
    }

    /// What follows a delay.
    enum Delayed {
        case reply(Reply)
        case close(Reply)
        case recipient(MailTransaction, AcceptedRecipient)
    }

    /// Where the session goes when the octets of a refused chunk are over.
    enum AfterChunk {
        case idle
        case transaction(MailTransaction)
        case refusedChunks(Reply)
    }

    /// What goes on once the open question is answered.
    enum Pending {
        case sender(ReversePath, MailParameters)
        case recipient(MailTransaction, AcceptedRecipient)
        case data(MailTransaction)
        case firstChunk(MailTransaction, Chunk)
        case commit
        case authentication
        case client(ClientIdentity, ClientIntroduction?)
    }

    /// A command line that was performed.
    public enum Command: Hashable, Sendable {
        case known(Verb)
        /// No verb of ours, or no line that could have one.
        case unknown
    }

    public let parameters: ServerParameters
    /// Who the client is, for the policy and the trace field. XCLIENT changes it.
    public internal(set) var client: ClientIdentity
    var bareNewline: BareNewline
    var failedLoginCount: UInt8 = 0
    /// Nil in clear text.
    public private(set) var tls: TLSSummary?
    /// Who has logged in.
    public internal(set) var user: AuthenticatedUser?
    private(set) var errorCount: UInt32 = 0
    private(set) var messageCount: UInt32 = 0
    private var command: Command?
    private var introduction = Introduction.none
    private var introducedName = ShortOctets([])
    private var lines = LineReader()
    var phase: Phase

    /// The most octets that ever need to be contiguous at the front of the input.
    public static let maximumContiguous = LineReader.maximumAuthenticationLength

    /// With implicit TLS the session begins with the handshake: greet after `tlsEstablished(_:)`.
    ///
    /// - Parameter bareNewlineExempt: this client's bare LFs are made right, whatever the listener's
    ///   parameters say.
    public init(
        parameters: ServerParameters, client: ClientIdentity, bareNewlineExempt: Bool = false
    ) {
        self.parameters = parameters
        self.client = client
        bareNewline = bareNewlineExempt ? .normalize : parameters.bareNewline
        phase =
            switch parameters.offer.tls {
            case .off, .startTLS: .idle
            case .implicit: .handshake
            }
    }

    /// What the server says first (RFC 5321 3.1).
    public func greeting() -> Reply { parameters.greeting }

    // MARK: Where the session is

    public var expectation: Expectation {
        switch phase {
        case .idle, .transaction, .chunks, .refusedChunks: .commandLine
        case .data: .mailData
        case .chunk, .skippedChunk: .chunk
        case .authenticating: .response
        case .handshake: .handshake
        case .asking, .delayed: .answer
        case .closed: .closed
        }
    }

    /// From the acceptance of MAIL until the message is accepted or refused.
    public var isInTransaction: Bool {
        switch phase {
        case .transaction, .data, .chunks, .chunk, .skippedChunk(_, .transaction): true
        case .asking(.recipient), .asking(.data), .asking(.firstChunk), .asking(.commit): true
        case .delayed(.recipient): true
        case .idle, .refusedChunks, .skippedChunk, .closed: false
        case .asking(.sender), .asking(.authentication), .asking(.client): false
        case .authenticating, .delayed(.reply), .delayed(.close), .handshake: false
        }
    }

    /// A command line is expected and no transaction would be cut off.
    public var isIdle: Bool {
        switch phase {
        case .idle, .refusedChunks: true
        case .transaction, .data, .chunks, .chunk, .skippedChunk, .authenticating, .delayed,
            .handshake, .asking, .closed:
            false
        }
    }

    /// The name that HELO or EHLO gave; empty before them.
    public var heloName: [UInt8] { introducedName.octets }

    /// EHLO, not HELO: the client may use extensions.
    public var isExtended: Bool {
        switch introduction {
        case .none, .helo: false
        case .ehlo: true
        }
    }

    var isIntroduced: Bool {
        switch introduction {
        case .none: false
        case .helo, .ehlo: true
        }
    }

    /// The protocol for the WITH clause of the trace field (RFC 5321 4.4, RFC 3848, RFC 6531 4.3).
    /// There is no such name for HELO inside TLS.
    public func protocolName(for transaction: MailTransaction) -> String {
        guard isExtended else { return "SMTP" }
        let suffix = (tls == nil ? "" : "S") + (user == nil ? "" : "A")
        return (transaction.parameters.smtputf8 ? "UTF8SMTP" : "ESMTP") + suffix
    }

    // MARK: Input

    /// Looks at the front of the unread input and says what to do with it. `input` may be a prefix of
    /// what is there. Cost: linear in what is consumed, however the input is cut.
    public mutating func next(in input: Span<UInt8>) -> Step {
        switch phase {
        case .idle, .transaction, .chunks, .refusedChunks:
            nextLine(
                in: input,
                as: parameters.offer.mechanisms.isEmpty ? .command : .commandWithAuthentication)
        case .authenticating: nextLine(in: input, as: .response)
        case .data: nextData(in: input)
        case .chunk: nextChunk(in: input)
        case .skippedChunk: nextSkipped(in: input)
        case .asking, .delayed, .handshake, .closed: .needMore
        }
    }

    private mutating func nextLine(in input: Span<UInt8>, as kind: LineReader.Kind) -> Step {
        switch lines.next(in: input, as: kind) {
        case .incomplete:
            return .needMore
        case .complete(let length, let endLength):
            // Waiting for a CRLF would leave the user of a plain `nc` without any answer, and what
            // follows a bare LF must never be taken for another command.
            guard endLength == 2 || bareNewline == .normalize else {
                return .act(close(.bareLineFeed), consuming: length)
            }
            let line = input.extracting(0..<(length - endLength))
            return .act(
                kind == .response ? respond(line) : perform(line), consuming: length)
        case .tooLong(let count):
            if kind != .response { performs(.unknown) }
            return .act(lineTooLong(input.extracting(0..<count)), consuming: count)
        case .skipped(let count, .bareLineFeed?) where bareNewline == .reject:
            return .act(close(.bareLineFeed), consuming: count)
        case .skipped(let count, _):
            return .drop(count)
        }
    }

    mutating func performs(_ command: Command) { self.command = command }

    /// The command of the `Step.act` that `next(in:)` has just returned; nil when none was performed, or
    /// when it was asked before.
    public mutating func takeCommand() -> Command? { command.take() }

    private mutating func lineTooLong(_ start: Span<UInt8>) -> Action {
        if case .authenticating = phase {
            phase = .idle
            return refuse(.authenticationLineTooLong)
        }
        if Verb.isChunk(start) { return close(.unknownChunkSize) }
        let isAuthentication = start.count == LineReader.maximumAuthenticationLength
        return refuse(isAuthentication ? .authenticationLineTooLong : .lineTooLong)
    }

    // MARK: What every part of the session does

    mutating func introduce(_ name: [UInt8], isExtended: Bool) {
        introduction = isExtended ? .ehlo : .helo
        introducedName = ShortOctets(name)
    }

    /// Everything that was said in clear text is forgotten (RFC 3207 4.2): it may have been
    /// somebody else's words.
    mutating func begin(_ summary: TLSSummary) {
        tls = summary
        startAnew()
    }

    /// Back to what holds before the first command.
    mutating func startAnew() {
        introduction = .none
        introducedName = ShortOctets([])
        user = nil
        lines = LineReader()
        phase = .idle
    }

    mutating func close(_ reply: Reply?) -> Action {
        phase = .closed
        return .close(reply)
    }

    /// Refuses a command. Errors of the client's making are counted (500 to 504, 555, and 55x at
    /// RCPT, but not 552): who guesses at addresses or talks no SMTP is shown the door.
    mutating func refuse(_ reply: Reply, isRecipient: Bool = false) -> Action {
        if reply.code == 421 { return close(reply) }
        let counts =
            switch reply.code {
            case 500...504, 555: true
            case 552: false
            case 550...559: isRecipient
            default: false
            }
        if counts {
            guard errorCount < parameters.maximumErrors else { return close(.tooManyErrors) }
            errorCount += 1
        }
        return .reply(reply)
    }

    mutating func messageWasAccepted() {
        messageCount &+= 1
        forgetErrors()
    }

    mutating func forgetErrors() { errorCount = 0 }

    /// Takes the phase out and leaves `.idle`; whoever takes it puts the next one in its place. A
    /// phase is moved, not copied: with a second reference to the recipients each RCPT would copy
    /// all of them.
    mutating func takePhase() -> Phase { exchange(&phase, with: .idle) }
}

extension ServerSession.Phase {
    init(_ next: ServerSession.AfterChunk) {
        switch next {
        case .idle: self = .idle
        case .transaction(let transaction): self = .transaction(transaction)
        case .refusedChunks(let reply): self = .refusedChunks(reply)
        }
    }
}
