import ElemtaSMTP

extension DeliveryTarget {
    /// What we were doing with it, for people: "the connection was lost (sending the message)".
    func words(for stage: ClientStage) -> String {
        if case .lmtp = mailProtocol, stage == .hello { return "waiting for its answer to LHLO" }
        return stage.words
    }
}

extension ClientProtocol {
    var name: String {
        switch self {
        case .smtp: "SMTP"
        case .lmtp: "LMTP"
        }
    }
}

extension ClientStage {
    fileprivate var words: String {
        switch self {
        case .greeting: "waiting for its greeting"
        case .hello: "waiting for its answer to EHLO"
        case .startTLS: "waiting for its answer to STARTTLS"
        case .handshake: "shaking hands for TLS"
        case .login: "logging in"
        case .mail: "waiting for its answer to MAIL"
        case .recipient: "waiting for its answer to RCPT"
        case .data: "waiting for its answer to DATA"
        case .content: "sending the message"
        case .endOfData: "waiting for its answer to the whole message"
        case .idle: "nothing was asked of it"
        case .quit, .closed: "taking leave of it"
        }
    }
}

extension ReplyError {
    /// What the server sent instead of a reply.
    var words: String {
        switch self {
        case .malformed: "a line that is no reply"
        case .codesDiffer: "one reply with different codes"
        case .lineTooLong: "a reply with a line beyond all bounds"
        case .replyTooLong: "a reply beyond all bounds"
        case .unexpected: "a reply that nothing had asked for"
        case .outOfSequence(let code): "reply \(code) where it can't be"
        }
    }
}
