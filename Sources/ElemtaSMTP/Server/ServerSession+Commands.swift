/// The commands, RFC 5321 4.1.1.
extension ServerSession {
    /// Performs a complete line without its end.
    mutating func perform(_ whole: Span<UInt8>) -> Action {
        performs(.unknown)
        for index in whole.indices where whole[index].isControl {
            // Where a chunk's size can't be read nobody knows which octets are its content.
            return Verb.isChunk(whole) ? close(.unknownChunkSize) : refuse(.controlCharacters)
        }
        // RFC 5321 4.1.1: white space before the CRLF is tolerated.
        var count = whole.count
        while count > 0, whole[count - 1] == .space { count -= 1 }
        let line = whole.extracting(0..<count)
        guard let (verb, end) = Verb.first(of: line) else {
            return Verb.isChunk(line) ? close(.unknownChunkSize) : refuse(.unknownCommand)
        }
        performs(.known(verb))
        switch verb {
        case .helo: return introduction(line, end, isExtended: false)
        case .ehlo: return introduction(line, end, isExtended: true)
        case .mail: return mail(line, end)
        case .rcpt: return rcpt(line, end)
        case .data: return withoutArgument(line, end) ?? data()
        case .bdat: return bdat(line, end)
        case .rset: return withoutArgument(line, end) ?? reset(.ok)
        case .noop: return .reply(.ok)
        case .help: return help(line, end)
        case .vrfy: return end < line.count ? .reply(.cannotVerify) : refuse(.vrfySyntax)
        case .quit: return withoutArgument(line, end) ?? close(.bye)
        case .auth: return auth(line, end)
        case .startTLS: return startTLS(hasArgument: end < line.count)
        case .xdebug: return xdebug(line, end)
        case .xclient: return xclient(line, end)
        case .expn, .etrn, .atrn, .turn, .send, .soml, .saml, .burl, .lhlo:
            return refuse(.notImplemented)
        }
    }

    /// The refusal of an argument where none belongs; nil when there is none.
    private mutating func withoutArgument(_ line: Span<UInt8>, _ end: Int) -> Action? {
        end == line.count ? nil : refuse(.noArgumentAllowed)
    }

    /// HELO and EHLO. Each also resets (RFC 5321 4.1.4), but a refused one changes nothing.
    private mutating func introduction(
        _ line: Span<UInt8>, _ end: Int, isExtended: Bool
    ) -> Action {
        guard end < line.count, Grammar.greetingName(line, end + 1) else {
            return refuse(.greetingSyntax)
        }
        let name = line.octets((end + 1)..<line.count)
        introduce(name, isExtended: isExtended)
        guard isExtended else { return reset(parameters.heloReply(to: name)) }
        let variant = ServerParameters.EHLOVariant(
            isInsideTLS: tls != nil, mayUseXCLIENT: client.mayUseXCLIENT)
        return reset(parameters.ehloReply(to: name, variant))
    }

    /// Ends the transaction, if there is one, and frees what its chunks have brought.
    private mutating func reset(_ reply: Reply) -> Action {
        switch takePhase() {
        case .chunks: .refuseContent(reply)
        case .idle, .transaction, .data, .chunk, .refusedChunks, .skippedChunk, .authenticating,
            .delayed, .handshake, .asking, .closed:
            .reply(reply)
        }
    }

    private mutating func mail(_ line: Span<UInt8>, _ end: Int) -> Action {
        switch phase {
        case .idle, .refusedChunks: break
        case .transaction, .data, .chunks, .chunk, .skippedChunk, .authenticating, .delayed,
            .handshake, .asking, .closed:
            return refuse(.nestedMail)
        }
        guard isIntroduced else { return refuse(.needsGreeting) }
        let maximum = parameters.maximumMessages
        if maximum > 0, messageCount >= maximum { return close(.tooManyMessages) }
        let offer = parameters.offer
        if offer.authenticationIsRequired, user == nil {
            return refuse(isAuthenticationOffered ? .loginRequired : .mustStartTLS)
        }
        switch Grammar.mail(line, end, isExtended: isExtended, offeredParameters) {
        case .refused(let reply):
            return refuse(reply)
        case .value((let path, let mailParameters)):
            return mail(path, mailParameters)
        }
    }

    private var offeredParameters: Grammar.OfferedParameters {
        let offer = parameters.offer
        var offered: Grammar.OfferedParameters = []
        switch offer.tls {
        case .startTLS where offer.offersRequireTLS, .implicit where offer.offersRequireTLS:
            offered.insert(.requireTLS)
        case .off, .startTLS, .implicit: break
        }
        if !offer.mechanisms.isEmpty { offered.insert(.authentication) }
        return offered
    }

    private mutating func mail(_ path: ReversePath, _ said: MailParameters) -> Action {
        // RFC 1870 6.1: said before a single octet of it is sent.
        if let size = said.declaredSize, size > parameters.maximumMessageSize {
            return refuse(.messageTooLarge)
        }
        // RFC 8689 4.1: what came in clear text has been readable already.
        if said.requireTLS, tls == nil { return refuse(.mustStartTLS) }
        if let user, !user.maySend(path) { return refuse(.senderNotAllowed) }
        var mailParameters = said
        // RFC 4954 5: anybody can say it.
        if user == nil { mailParameters.submitter = nil }
        phase = .asking(.sender(path, mailParameters))
        return .ask(.sender(path, mailParameters))
    }

    private mutating func rcpt(_ line: Span<UInt8>, _ end: Int) -> Action {
        guard case .transaction = phase, case .transaction(let transaction) = takePhase()
        else { return outOfOrder() }
        switch recipient(line, end, of: transaction) {
        case .refused(let reply):
            phase = .transaction(transaction)
            return refuse(reply, isRecipient: true)
        case .value(let recipient):
            return troubleWithRecipient(recipient, of: transaction)
                ?? ask(recipient, of: transaction)
        }
    }

    mutating func ask(
        _ recipient: AcceptedRecipient, of transaction: MailTransaction
    ) -> Action {
        phase = .asking(.recipient(transaction, recipient))
        return .ask(.recipient(recipient.path))
    }

    private func recipient(
        _ line: Span<UInt8>, _ end: Int, of transaction: MailTransaction
    ) -> Parsed<AcceptedRecipient> {
        let parsed = Grammar.rcpt(
            line, end, isExtended: isExtended, smtputf8: transaction.parameters.smtputf8)
        switch parsed {
        case .refused: return parsed
        case .value:
            // RFC 5321 4.5.3.1.10: those accepted stay, the surplus is for another transaction.
            return transaction.recipients.count < parameters.maximumRecipients
                ? parsed : .refused(.tooManyRecipients)
        }
    }

    private mutating func data() -> Action {
        guard case .transaction = phase, case .transaction(let transaction) = takePhase()
        else { return outOfOrder() }
        guard !transaction.recipients.isEmpty else {
            phase = .transaction(transaction)
            return refuse(.needsRecipient)
        }
        phase = .asking(.data(transaction))
        return .ask(.content(transaction))
    }

    /// RCPT or DATA where there is no transaction, or none that they could belong to.
    private mutating func outOfOrder() -> Action {
        switch phase {
        case .chunks:
            // RFC 3030 2: DATA and BDAT can't be used in the same transaction.
            return refuse(.chunksBegun)
        case .idle, .transaction, .data, .chunk, .refusedChunks, .skippedChunk, .authenticating,
            .delayed, .handshake, .asking, .closed:
            return refuse(isIntroduced ? .needsMail : .needsGreeting)
        }
    }
}
