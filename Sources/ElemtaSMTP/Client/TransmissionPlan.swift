/// How a message goes to a server that offers `extensions`, and for whom it can't.
struct TransmissionPlan {
    let body: BodyType
    let smtputf8: Bool
    /// REQUIRETLS goes with MAIL.
    let requireTLS: Bool
    let transfer: ContentTransfer
    /// By recipient; nil: nothing stands in the way.
    let obstacles: [ClientFailure.Obstacle?]

    /// From here on BDAT is taken where it is offered even if DATA could do it: it spares the scan,
    /// and a file can go to the socket without passing through the process. Below, DATA is what
    /// every server has been tried with, and costs no further round trip under PIPELINING.
    static let chunkingThreshold: UInt64 = 65_536

    init(
        for transaction: ClientTransaction, speaking mailProtocol: ClientProtocol,
        extensions: ServerExtensions, channel: ClientChannel
    ) {
        let content = transaction.content
        let asksForTLS = transaction.parameters.requireTLS
        requireTLS = asksForTLS && channel.isAuthenticated && extensions.requireTLS
        // RFC 6531 3.2: only what is internationalized needs the extension, not the declaration.
        let internationalized = Self.isInternationalized(transaction)
        smtputf8 =
            extensions.smtputf8
            && (internationalized
                || transaction.recipients.contains { Self.isInternationalized($0.path) })
        // Neither NUL nor an unfinished last line is an obstacle: nobody takes a NUL for the end of
        // the data, and DATA completes the line with a CRLF. Both are better off with BDAT.
        let needsChunking = !content.traits.isDisjoint(with: [.bareCarriageReturn, .bareLineFeed])
        let isBinary = needsChunking || content.traits.contains(.nul)
        let common: ClientFailure.Obstacle? =
            if case .octets(let limit) = extensions.size, limit < content.octetCount {
                .tooLarge(limit: limit)
            } else if asksForTLS, !requireTLS, !mailProtocol.needsNoTLS,
                transaction.reversePath != .null
            {
                // RFC 8689 5: a report isn't lost for want of REQUIRETLS.
                .needsRequireTLS
            } else if internationalized, !extensions.smtputf8 {
                .needsSMTPUTF8
            } else if needsChunking, !extensions.chunking {
                .needsChunking
            } else if content.isEightBit, !extensions.eightBitMIME {
                .needsEightBitMIME
            } else {
                nil
            }
        obstacles = transaction.recipients.map {
            common
                ?? (Self.isInternationalized($0.path) && !extensions.smtputf8
                    ? .needsSMTPUTF8 : nil)
        }
        let usesChunk =
            extensions.chunking
            && (isBinary || content.traits.contains(.unfinishedLine)
                || content.octetCount >= Self.chunkingThreshold)
        transfer =
            usesChunk
            ? .chunk(command: Array("BDAT \(content.octetCount) LAST\r\n".utf8)) : .data
        body =
            if usesChunk, extensions.binaryMIME,
                isBinary || transaction.parameters.bodyType == .binaryMIME
            {
                .binaryMIME
            } else if extensions.eightBitMIME,
                content.isEightBit || transaction.parameters.bodyType == .eightBitMIME
            {
                .eightBitMIME
            } else {
                .sevenBit
            }
    }

    /// Whether the server would take the message with its content in 7 bits, and doesn't as it is.
    static func needsSevenBits(
        _ transaction: ClientTransaction, speaking mailProtocol: ClientProtocol,
        extensions: ServerExtensions, channel: ClientChannel
    ) -> Bool {
        if transaction.content.traits.contains(.eightBitHeader) { return false }
        let plan = TransmissionPlan(
            for: transaction, speaking: mailProtocol, extensions: extensions, channel: channel)
        // What stands in the way of all recipients is what the first has.
        return plan.obstacles.first == .needsEightBitMIME
    }

    /// Whether the whole message is beyond a server without SMTPUTF8: a non-ASCII sender, or a
    /// header section that isn't ASCII in a message that was declared SMTPUTF8.
    private static func isInternationalized(_ transaction: ClientTransaction) -> Bool {
        if case .mailbox(let mailbox) = transaction.reversePath, mailbox.isInternationalized {
            return true
        }
        return transaction.parameters.smtputf8
            && transaction.content.traits.contains(.eightBitHeader)
    }

    private static func isInternationalized(_ path: ForwardPath) -> Bool {
        if case .mailbox(let mailbox) = path { return mailbox.isInternationalized }
        return false
    }
}
