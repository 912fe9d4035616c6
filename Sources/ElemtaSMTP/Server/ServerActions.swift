/// What the next octets from the client mean.
public enum Expectation: Sendable {
    case commandLine
    /// Content after DATA, up to CRLF.CRLF.
    case mailData
    /// Content whose length BDAT has announced, wanted or not.
    case chunk
    /// Nothing: a question is open, and reading waits until `resume(with:)`.
    case answer
    /// Nothing any more: the session is over.
    case closed
}

/// What to do with the octets at the front of the unread input.
public enum Step {
    /// Nothing was consumed. When the span wasn't all that is there, make more of it contiguous
    /// (`ServerSession.maximumContiguous` octets are always enough) and call again; otherwise wait.
    case needMore
    /// Take this many octets away.
    case drop(Int)
    /// Move this many octets to the content.
    case keep(Int)
    /// Take this many octets away and append CRLF to the content: a bare LF made right.
    case keepLineEnd(dropping: Int)
    /// Take this many octets (possibly none) away, then perform the action.
    case act(Action, consuming: Int)
}

/// What a session wants done.
public enum Action {
    case none
    case reply(Reply)
    /// Send what is owed and the reply, then close.
    case close(Reply?)
    /// Answer with `resume(with:)`; nothing is read from the client until then.
    case ask(Question)
    /// The content gathered so far is refused: free it now. The reply comes at the end of the data.
    case abandonContent
    /// Free what was gathered, if anything still is, and send the reply. No transaction is left.
    case refuseContent(Reply)
}

/// What a session can't decide by itself.
public enum Question {
    /// MAIL. Accepting it begins a transaction.
    case sender(ReversePath, MailParameters)
    /// RCPT: may this client send there, and is there such a recipient?
    case recipient(ForwardPath)
    /// Content is about to come, before 354 or the first chunk: is there room for it?
    case content(MailTransaction)
    /// The content is complete: put it on disk.
    case commit(MailTransaction, ContentSummary)
}

/// The answer to a question.
public enum Verdict {
    case accept
    /// The answer to `commit`; the id goes into the reply.
    case accepted(id: [UInt8])
    /// A reply with code 421 closes the session.
    case refuse(Reply)
}
