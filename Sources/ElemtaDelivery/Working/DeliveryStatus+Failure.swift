import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// A reason in the words of a report: whether it is for good, and what to say.
struct FailureReason {
    let isPermanent: Bool
    let status: DeliveryStatus

    init(isPermanent: Bool, status: DeliveryStatus) {
        self.isPermanent = isPermanent
        self.status = status
    }

    /// Ours, nobody having answered. The class of the status says whether it is for good.
    init(_ enhanced: EnhancedStatus, _ text: String, nextHop: String = "") {
        isPermanent = enhanced.class == .permanentFailure
        status = DeliveryStatus(
            enhancedStatus: enhanced, text: Array(text.utf8), nextHop: nextHop)
    }

    var result: RecipientResult { isPermanent ? .failed(status) : .deferred(status) }

    /// A domain without a server that could be tried.
    init(_ failure: LookupFailure, of server: RemoteServer) {
        switch failure {
        case .noSuchDomain:
            self.init(EnhancedStatus(.permanentFailure, 1, 2), "There is no domain \(server)")
        case .nullMX:
            // RFC 7505 4.2.
            self.init(
                EnhancedStatus(.permanentFailure, 1, 10), "\(server) accepts no mail (null MX)")
        case .noAddress:
            self.init(
                EnhancedStatus(.permanentFailure, 4, 4), "No mail host of \(server) has an address")
        case .noAnswer(let what):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 4, 3),
                "DNS gave no answer about \(server): \(what)")
        }
    }

    /// A host that can't be reached.
    init(_ error: ReactorError, to target: DeliveryTarget) {
        self.init(
            EnhancedStatus(.persistentTransientFailure, 4, 1),
            "Can't connect to \(target.description): \(error)", nextHop: target.description)
    }

    /// What went wrong in the dialogue with `target`.
    init(_ failure: ClientFailure, with target: DeliveryTarget) {
        let nextHop = target.description
        switch failure {
        case .reply(let reply, _):
            self.init(
                isPermanent: failure.isPermanent,
                status: DeliveryStatus(reply, nextHop: nextHop))
        case .protocolError(let error, let stage):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 5, 0),
                "\(nextHop) does not speak SMTP (\(error), \(stage))", nextHop: nextHop)
        case .timedOut(let stage):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 4, 2),
                "\(nextHop) took too long (\(stage))", nextHop: nextHop)
        case .connectionLost(let stage):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 4, 2),
                "The connection to \(nextHop) was lost (\(stage))", nextHop: nextHop)
        case .abandoned(let reason):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 3, 0),
                "The message could not be sent: \(reason)", nextHop: nextHop)
        case .unsendable(let obstacle):
            self.init(obstacle, nextHop: nextHop)
        }
    }

    private init(_ obstacle: ClientFailure.Obstacle, nextHop: String) {
        switch obstacle {
        case .tooLarge(let limit):
            self.init(
                EnhancedStatus(.permanentFailure, 3, 4),
                "\(nextHop) takes no message larger than \(limit) octets", nextHop: nextHop)
        case .needsSMTPUTF8:
            self.init(
                EnhancedStatus(.permanentFailure, 6, 7),
                "\(nextHop) does not take internationalized addresses (SMTPUTF8)",
                nextHop: nextHop)
        case .needsEightBitMIME:
            self.init(
                EnhancedStatus(.permanentFailure, 6, 3),
                "\(nextHop) does not take 8-bit content (8BITMIME)", nextHop: nextHop)
        case .needsChunking:
            self.init(
                EnhancedStatus(.permanentFailure, 6, 3),
                "\(nextHop) does not take content with bare CR or LF (CHUNKING)",
                nextHop: nextHop)
        }
    }
}

extension RecipientResult {
    /// What was said; nil where nothing was tried.
    var status: DeliveryStatus? {
        switch self {
        case .delivered(let status), .relayed(let status, _), .deferred(let status),
            .failed(let status):
            status
        case .notAttempted: nil
        }
    }
}

extension DeliveryStatus {
    init(_ reply: RemoteReply, nextHop: String) {
        self.init(
            code: reply.code, enhancedStatus: reply.enhanced, text: reply.text, nextHop: nextHop)
    }
}
