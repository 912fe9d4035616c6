/// What the next octets from the client mean.
public enum Expectation: Sendable {
    case commandLine
    /// Content after DATA, up to CRLF.CRLF.
    case mailData
    /// Content whose length BDAT has announced, wanted or not.
    case chunk
    /// The answer to a challenge of AUTH, a line of at most 12,288 octets.
    case response
    /// TLS, from the first octet that isn't consumed on, until `tlsEstablished(_:)`.
    case handshake
    /// Nothing: a question is open or an answer is held back, and reading waits until `resume(with:)`
    /// or `delayEnded()`.
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
    /// Wait so many seconds, without reading, then call `delayEnded()`.
    case delay(seconds: Int)
    /// Send the reply and begin the handshake, unless octets of the client's are unread: those came
    /// in clear text, perhaps from somebody else (CVE-2011-0411), and `refuseTLS(_:)` is called
    /// instead.
    case startTLS(Reply)
    /// Send what `debugReply(_:sessionID:)` says.
    case debug(DebugView)
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
    /// AUTH: answer with an `AuthenticationOutcome`.
    case authenticate(SASLCredentials)
    /// AUTH with what no back end may see: a user or a password that can't be one, or an authorization
    /// identity (RFC 4616 2) other than `user`. Count it as a failure, and answer with
    /// `AuthenticationOutcome.rejected` or `.unavailable`. `user` nil: it can't be a name.
    case impossibleLogin(user: String?)
    /// XCLIENT: the session goes on for this client. Limits, the exemption for bare LFs and what a
    /// login allows are this client's from now on: answer with `Verdict.admit`.
    case client(ClientIdentity, login: String?)
}

/// The answer to a question.
public enum Verdict {
    case accept
    /// The answer to `commit`; the id goes into the reply.
    case accepted(id: [UInt8])
    /// The answer to `client`; `.accept` stands for `.admit(nil, bareNewlineExempt: false)`.
    case admit(AuthenticatedUser?, bareNewlineExempt: Bool)
    /// A reply with code 421 closes the session.
    case refuse(Reply)
}

/// What became of credentials. `delay` is how many seconds the answer is to be held back at least;
/// the session holds back what its own failures ask for.
public enum AuthenticationOutcome {
    case accepted(AuthenticatedUser, delay: Int = 0)
    /// Whatever is wrong about them.
    case rejected(delay: Int = 0)
    /// Nobody can tell now, or this client has failed too often.
    case unavailable
}

/// Why TLS doesn't begin after all.
public enum TLSRefusal {
    /// Octets have come with or right behind STARTTLS.
    case octetsWaiting
    /// There is nothing to begin it with.
    case unavailable
}

/// What XDEBUG is asked for.
public enum DebugView: Sendable {
    case everything, state, connection, context
}
