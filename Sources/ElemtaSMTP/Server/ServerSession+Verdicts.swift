/// What follows the driver's answers.
extension ServerSession {
    /// Takes the answer to the open question. Without one nothing happens. Nobody logs in by this.
    public mutating func resume(with verdict: Verdict) -> Action {
        guard case .asking = phase, case .asking(let pending) = takePhase() else { return .none }
        switch verdict {
        case .accept: return accepted(pending, .messageAccepted)
        case .accepted(let id): return accepted(pending, .messageAccepted(id: id))
        case .admit(let user, let isExempt):
            return accepted(pending, .messageAccepted, as: user, isBareNewlineExempt: isExempt)
        case .refuse(let reply): return refused(pending, reply)
        }
    }

    private mutating func accepted(
        _ pending: consuming Pending, _ messageReply: Reply, as user: AuthenticatedUser? = nil,
        isBareNewlineExempt: Bool = false
    ) -> Action {
        switch consume pending {
        case .sender(let path, let parameters):
            phase = .transaction(MailTransaction(reversePath: path, parameters: parameters))
            return .reply(.senderAccepted)
        case .recipient(var transaction, let recipient):
            transaction.recipients.append(recipient)
            phase = .transaction(transaction)
            return .reply(.recipientAccepted)
        case .data(let transaction):
            phase = .data(transaction, DataDecoder())
            return .reply(.startMailInput)
        case .firstChunk(let transaction, let chunk):
            return begin(chunk, transaction, ChunkedContent())
        case .commit:
            phase = .idle
            messageWasAccepted()
            return .reply(messageReply)
        case .authentication:
            return loginUnavailable()
        case .client(let client, let introduction):
            return speak(for: client, introduction, as: user, isBareNewlineExempt)
        }
    }

    private mutating func refused(_ pending: consuming Pending, _ reply: Reply) -> Action {
        switch consume pending {
        case .sender, .authentication, .client:
            phase = .idle
            return refuse(reply)
        case .recipient(let transaction, _):
            phase = .transaction(transaction)
            return refuse(reply, isRecipient: true)
        case .data(let transaction):
            // RFC 5321 4.1.1.4: nothing was sent, so the envelope may be tried again.
            phase = .transaction(transaction)
            return refuse(reply)
        case .firstChunk(_, let chunk):
            return refuse(chunk, reply)
        case .commit:
            phase = .idle
            return reply.code == 421 ? close(reply) : .refuseContent(reply)
        }
    }
}
