/// Content: DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030).
extension ServerSession {
    /// Trouble of the driver's (disk, memory) while content comes: the rest is read and dropped, and
    /// `reply` is sent where the client expects one. What was gathered is the driver's to free.
    public mutating func failContent(with reply: Reply) {
        switch takePhase() {
        case .data(let transaction, var decoder):
            decoder.refuse(with: reply)
            phase = .data(transaction, decoder)
        case .chunk(let transaction, var content, let chunk):
            content.refuse(with: reply)
            phase = .chunk(transaction, content, chunk)
        case .chunks:
            phase = .refusedChunks(reply)
        case let other:
            phase = other
        }
    }

    /// The fields in the header section of the content that comes, once all of it has been seen; nil
    /// before, and when no content comes.
    public var headerFields: HeaderFields? {
        switch phase {
        case .data(_, let decoder): decoder.headerFields
        case .chunks(_, let content), .chunk(_, let content, _): content.headerFields
        case .idle, .transaction, .refusedChunks, .skippedChunk, .authenticating, .delayed,
            .handshake, .asking, .closed:
            nil
        }
    }

    // MARK: DATA

    mutating func nextData(in input: Span<UInt8>) -> Step {
        guard case .data(let transaction, var decoder) = takePhase() else { return .needMore }
        let step: Step
        switch decoder.next(
            in: input, maximumSize: parameters.maximumMessageSize, bareNewline: bareNewline)
        {
        case .end(let count):
            return .act(endOfData(transaction, &decoder), consuming: count)
        case .needMore: step = .needMore
        case .keep(let count): step = .keep(count)
        case .drop(let count): step = .drop(count)
        case .lineEnd(let count): step = .keepLineEnd(dropping: count)
        case .refused(let count): step = .act(.abandonContent, consuming: count)
        }
        phase = .data(transaction, decoder)
        return step
    }

    private mutating func endOfData(
        _ transaction: MailTransaction, _ decoder: inout DataDecoder
    ) -> Action {
        if let reply = decoder.refusal {
            phase = .idle
            return refusal(of: reply)
        }
        return complete(transaction, decoder.finish())
    }

    private mutating func complete(
        _ transaction: MailTransaction, _ summary: ContentSummary
    ) -> Action {
        if let reply = troubleWithContent(of: transaction) {
            phase = .idle
            return refusal(of: reply)
        }
        phase = .asking(.commit)
        return .ask(.commit(transaction, summary))
    }

    private mutating func refusal(of reply: Reply) -> Action {
        reply.code == 421 ? close(reply) : .refuseContent(reply)
    }

    // MARK: BDAT

    mutating func bdat(_ line: Span<UInt8>, _ end: Int) -> Action {
        switch Grammar.bdat(line, end) {
        case .unknownSize:
            return close(.unknownChunkSize)
        case .malformed(let size):
            return malformedChunk(size)
        case .chunk(let size, let isLast):
            return chunk(Chunk(size: size, isLast: isLast))
        }
    }

    /// Its content would be missing from the message, so the message is refused with it: a client
    /// that has sent the rest already must not get half a message accepted.
    private mutating func malformedChunk(_ size: UInt64) -> Action {
        switch takePhase() {
        case .transaction, .chunks:
            return skip(size, .chunkSyntax, then: .refusedChunks(.chunkSyntax))
        case .refusedChunks(let reply):
            return skip(size, .chunkSyntax, then: .refusedChunks(reply))
        case .idle, .data, .chunk, .skippedChunk, .authenticating, .delayed, .handshake, .asking,
            .closed:
            return skip(size, .chunkSyntax, then: .idle)
        }
    }

    private mutating func chunk(_ chunk: Chunk) -> Action {
        switch takePhase() {
        case .transaction(let transaction):
            guard !transaction.recipients.isEmpty else {
                // A recipient accepted now would get the message without its first chunk.
                let next: AfterChunk =
                    chunk.isLast ? .transaction(transaction) : .refusedChunks(.needsRecipient)
                return skip(chunk.size, .needsRecipient, then: next)
            }
            guard chunk.size <= parameters.maximumMessageSize else {
                return refuse(chunk, .messageTooLarge)
            }
            phase = .asking(.firstChunk(transaction, chunk))
            return .ask(.content(transaction))
        case .chunks(let transaction, let content):
            guard chunk.size <= parameters.maximumMessageSize - content.octetCount else {
                return refuse(chunk, .messageTooLarge)
            }
            return begin(chunk, transaction, content)
        case .refusedChunks(let reply):
            return refuse(chunk, reply)
        case .idle, .data, .chunk, .skippedChunk, .authenticating, .delayed, .handshake, .asking,
            .closed:
            return skip(chunk.size, isIntroduced ? .needsMail : .needsGreeting, then: .idle)
        }
    }

    /// Refuses a chunk and the message with it.
    mutating func refuse(_ chunk: Chunk, _ reply: Reply) -> Action {
        skip(chunk.size, reply, then: chunk.isLast ? .idle : .refusedChunks(reply))
    }

    /// Refuses a BDAT at once and swallows what it has announced: the client sends it without
    /// waiting, and content must never be read as commands. Frees what earlier chunks have brought.
    private mutating func skip(_ size: UInt64, _ reply: Reply, then: AfterChunk) -> Action {
        phase = size > 0 ? .skippedChunk(remaining: size, then: then) : Phase(then)
        switch (refuse(reply), then) {
        case (.reply(let reply), .idle), (.reply(let reply), .refusedChunks):
            return .refuseContent(reply)
        case (let action, _):
            return action
        }
    }

    mutating func nextSkipped(in input: Span<UInt8>) -> Step {
        guard input.count > 0, case .skippedChunk(let remaining, let then) = takePhase()
        else { return .needMore }
        let count = Int(min(UInt64(input.count), remaining))
        let rest = remaining - UInt64(count)
        phase = rest > 0 ? .skippedChunk(remaining: rest, then: then) : Phase(then)
        return .drop(count)
    }

    /// An accepted chunk begins, and ends at once when it's empty.
    mutating func begin(
        _ chunk: Chunk, _ transaction: MailTransaction, _ content: ChunkedContent
    ) -> Action {
        guard chunk.remaining > 0 else { return endOfChunk(transaction, content, chunk) }
        phase = .chunk(transaction, content, chunk)
        return .none
    }

    mutating func nextChunk(in input: Span<UInt8>) -> Step {
        guard case .chunk(let transaction, var content, var chunk) = takePhase()
        else { return .needMore }
        guard chunk.remaining > 0 else {
            return .act(endOfChunk(transaction, content, chunk), consuming: 0)
        }
        let count = chunk.take(from: input)
        let wasRefused = content.refusal != nil
        let isWanted = content.append(input, count: count)
        phase = .chunk(transaction, content, chunk)
        guard count > 0 else { return .needMore }
        if isWanted { return .keep(count) }
        return wasRefused ? .drop(count) : .act(.abandonContent, consuming: count)
    }

    private mutating func endOfChunk(
        _ transaction: MailTransaction, _ content: ChunkedContent, _ chunk: Chunk
    ) -> Action {
        if let reply = content.refusal {
            phase = chunk.isLast ? .idle : .refusedChunks(reply)
            return refusal(of: reply)
        }
        guard chunk.isLast else {
            phase = .chunks(transaction, content)
            return .reply(.chunkReceived(chunk.size))
        }
        var content = content
        return complete(transaction, content.finish())
    }
}
