/// The commands of one transaction and the replies to them, in one write or one by one.
struct EnvelopeExchange: ~Copyable {
    enum Outcome {
        case wait
        case send([UInt8])
        case sendContent(ContentTransfer)
        case sendLoneDot
        /// All recipients have their verdict. `canContinue` false: the connection is of no more use.
        case end(canContinue: Bool, needsReset: Bool)
    }

    /// What a reply to the content leads to.
    enum ContentOutcome {
        /// Other recipients' replies are owed.
        case wait
        case end(canContinue: Bool, needsReset: Bool)
    }

    private let composer: CommandComposer
    private let answersEachRecipient: Bool
    private let transfer: ContentTransfer
    private let endsBeforeContent: Bool
    /// All commands up to the content, in order; DATA is among them unless BDAT is used.
    private let commands: [ClientCommand]
    /// RFC 2920: all commands go in one write.
    private let isPipelined: Bool
    private var sentCount = 0
    private var answeredCount = 0
    private var isUntried = true
    private var mailFailure: ClientFailure?
    /// By recipient: nil while its own command is unanswered or it was accepted and the rest is open.
    private var verdicts: [RecipientVerdict?]
    private var isAccepted: [Bool]

    /// Decides how the message goes, and whether it can (`isSendable`).
    init(
        _ transaction: ClientTransaction, speaking mailProtocol: ClientProtocol,
        extensions: ServerExtensions, channel: ClientChannel, reset: Bool
    ) {
        let plan = TransmissionPlan(
            for: transaction, speaking: mailProtocol, extensions: extensions, channel: channel)
        answersEachRecipient = mailProtocol.answersEachRecipient
        composer = CommandComposer(
            transaction: transaction, extensions: extensions, body: plan.body,
            smtputf8: plan.smtputf8, requireTLS: plan.requireTLS)
        transfer = plan.transfer
        endsBeforeContent = transaction.endsBeforeContent
        isPipelined = extensions.pipelining
        verdicts = plan.obstacles.map { $0.map { .failed(.unsendable($0)) } }
        isAccepted = Array(repeating: false, count: verdicts.count)
        var commands: [ClientCommand] = reset ? [.reset, .mail] : [.mail]
        commands += verdicts.indices.lazy.filter { [verdicts] in verdicts[$0] == nil }
            .map { .recipient($0) }
        if transfer == .data, !endsBeforeContent { commands.append(.data) }
        self.commands = commands
    }

    /// The command whose reply comes next.
    var awaited: ClientCommand { commands[min(answeredCount, commands.count - 1)] }

    private var acceptedCount: Int { isAccepted.lazy.filter { $0 }.count }

    /// The next commands to send, nil when there is nobody to send to.
    mutating func nextCommands() -> [UInt8]? {
        guard verdicts.contains(where: { $0 == nil }) else { return nil }
        let end = isPipelined ? commands.count : sentCount + 1
        var octets: [UInt8] = []
        for command in commands[sentCount..<end] { composer.append(command, to: &octets) }
        sentCount = end
        return octets
    }

    mutating func receive(_ reply: RemoteReply) -> Outcome {
        let command = awaited
        answeredCount += 1
        if reply.closesConnection {
            // 421 instead of an answer to the first command is about the connection.
            isUntried = answeredCount == 1
            settle(.reply(reply, command.stage))
            return .end(canContinue: false, needsReset: false)
        }
        // A refused RSET says nothing about the message either.
        isUntried = command == .reset
        switch command {
        case .reset: return receiveReset(reply)
        case .mail: return receiveMail(reply)
        case .recipient(let index): return receiveRecipient(reply, index)
        case .data: return receiveData(reply)
        }
    }

    private mutating func receiveReset(_ reply: RemoteReply) -> Outcome {
        reply.isPositive ? proceed() : giveUp(reply, .mail)
    }

    private mutating func receiveMail(_ reply: RemoteReply) -> Outcome {
        switch reply.code {
        case 200...299:
            return proceed()
        case 400...599:
            mailFailure = .reply(reply, .mail)
            settle(.reply(reply, .mail))
            // The replies to what is already on its way still have to be taken.
            if isPipelined { return proceed() }
            return .end(canContinue: true, needsReset: false)
        default:
            return giveUp(reply, .mail)
        }
    }

    private mutating func receiveRecipient(_ reply: RemoteReply, _ index: Int) -> Outcome {
        // What RCPT says after a refused MAIL is about the order of commands, not the recipient.
        if mailFailure != nil { return proceed() }
        switch reply.code {
        case 200...299:
            isAccepted[index] = true
            if endsBeforeContent { verdicts[index] = .accepted(reply) }
        case 400...599:
            let failure = ClientFailure.reply(reply, .recipient)
            verdicts[index] = failure.isPermanent ? .failed(failure) : .deferred(failure)
        default:
            return giveUp(reply, .recipient)
        }
        return proceed()
    }

    /// RFC 2920 3.1: DATA went out before anybody knew whether a recipient would be accepted, so
    /// both 354 and a refusal are in order after both outcomes.
    private mutating func receiveData(_ reply: RemoteReply) -> Outcome {
        switch reply.code {
        case 354:
            if acceptedCount > 0 { return .sendContent(transfer) }
            // RFC 2033 4.2 forbids this reply, and nobody knows how many would answer the dot.
            return answersEachRecipient
                ? .end(canContinue: false, needsReset: false) : .sendLoneDot
        case 400...599:
            settle(.reply(reply, .data))
            return .end(canContinue: true, needsReset: true)
        default:
            return giveUp(reply, .data)
        }
    }

    /// The next step after a reply that keeps the transaction going.
    private mutating func proceed() -> Outcome {
        if answeredCount < sentCount { return .wait }
        let isDecided = mailFailure != nil || isEveryRecipientRefused
        if answeredCount < commands.count {
            // Without PIPELINING nobody says DATA when nobody was accepted.
            if commands[answeredCount] == .data, isDecided {
                return .end(canContinue: true, needsReset: true)
            }
            return nextCommands().map { .send($0) } ?? .end(canContinue: true, needsReset: true)
        }
        return isDecided
            ? .end(canContinue: true, needsReset: true) : .sendContent(transfer)
    }

    private var isEveryRecipientRefused: Bool { verdicts.allSatisfy { $0 != nil } }

    private mutating func giveUp(_ reply: RemoteReply, _ stage: ClientStage) -> Outcome {
        settle(.protocolError(.outOfSequence(reply.code), stage))
        return .end(canContinue: false, needsReset: false)
    }

    /// Everybody without a verdict gets this one.
    mutating func settle(_ failure: ClientFailure) {
        let verdict: RecipientVerdict = failure.isPermanent ? .failed(failure) : .deferred(failure)
        for index in verdicts.indices where verdicts[index] == nil { verdicts[index] = verdict }
    }

    /// An answer to what isn't complete can only be a refusal, and leaves no way back.
    mutating func receiveDuringContent(_ reply: RemoteReply) {
        // Of several recipients each is owed a reply of his own, and this one may be about any.
        let isAboutAll = !answersEachRecipient || acceptedCount == 1 || reply.closesConnection
        settle(
            reply.code >= 400 && isAboutAll
                ? .reply(reply, .content) : .protocolError(.unexpected, .content))
    }

    mutating func receiveEndOfData(_ reply: RemoteReply) -> ContentOutcome {
        switch reply.code {
        case 200...299:
            if answersEachRecipient {
                settleNext(.accepted(reply))
            } else {
                accept(reply)
            }
        case 400...599:
            let failure = ClientFailure.reply(reply, .endOfData)
            if answersEachRecipient, !reply.closesConnection {
                settleNext(failure.isPermanent ? .failed(failure) : .deferred(failure))
            } else {
                settle(failure)
            }
        default:
            settle(.protocolError(.outOfSequence(reply.code), .endOfData))
            return .end(canContinue: false, needsReset: false)
        }
        if verdicts.contains(nil) { return .wait }
        // RFC 3030 2: after a failed BDAT the transaction stands until RSET.
        let needsReset = reply.code >= 400 || answersEachRecipient && !isTakenForAll
        return .end(canContinue: !reply.closesConnection, needsReset: needsReset)
    }

    private var isTakenForAll: Bool {
        verdicts.allSatisfy { if case .accepted = $0 { true } else { false } }
    }

    /// RFC 2033 4.2: the replies come in the order of those RCPT commands that were accepted.
    private mutating func settleNext(_ verdict: RecipientVerdict) {
        if let next = verdicts.firstIndex(of: nil) { verdicts[next] = verdict }
    }

    /// Everybody who was accepted is delivered.
    private mutating func accept(_ reply: RemoteReply) {
        for index in verdicts.indices where verdicts[index] == nil {
            verdicts[index] =
                isAccepted[index]
                ? .accepted(reply) : .deferred(.protocolError(.unexpected, .endOfData))
        }
    }

    func result(mayBeDuplicated: Bool = false) -> TransactionResult {
        TransactionResult(
            verdicts: verdicts.map { $0 ?? .deferred(.connectionLost(awaited.stage)) },
            mayBeDuplicated: mayBeDuplicated && acceptedCount > 0,
            isUntried: isUntried && sentCount > 0)
    }
}
