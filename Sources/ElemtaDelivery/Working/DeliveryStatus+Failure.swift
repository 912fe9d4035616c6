import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// A reason in the words of a report: whether it is for good, and what to say.
struct FailureReason {
    enum Kind {
        case permanent, transient
        /// Transient, though it won't pass by itself.
        case loginFailed
    }

    let kind: Kind
    let status: DeliveryStatus

    private init(_ kind: Kind, _ status: DeliveryStatus) {
        self.kind = kind
        self.status = status
    }

    /// Ours, nobody having answered. The class of the status says whether it is for good.
    init(_ enhanced: EnhancedStatus, _ text: String, nextHop: String = "") {
        self.init(
            enhanced.class == .permanentFailure ? .permanent : .transient,
            DeliveryStatus(enhancedStatus: enhanced, text: Array(text.utf8), nextHop: nextHop))
    }

    var isPermanent: Bool { kind == .permanent }
    var text: String { String(decoding: status.text, as: UTF8.self) }

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
        case .loop:
            // RFC 3463 3.5: routing loop detected.
            self.init(
                EnhancedStatus(.permanentFailure, 4, 6),
                "DNS says that this server takes the mail of \(server), but it isn't configured to")
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

    /// Others had to have the place.
    init(silentFor silence: Duration, _ target: DeliveryTarget) {
        self.init(
            EnhancedStatus(.persistentTransientFailure, 4, 1),
            "\(target.description) said nothing for \(silence.components.seconds) s, and the connection "
                + "was needed for other mail", nextHop: target.description)
    }

    /// What went wrong in the dialogue with `target`.
    init(_ failure: ClientFailure, with target: DeliveryTarget) {
        let nextHop = target.description
        switch failure {
        case .reply(let reply, _):
            self.init(
                failure.isPermanent ? .permanent : .transient,
                DeliveryStatus(reply, nextHop: nextHop))
        case .protocolError(let error, let stage):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 5, 0),
                "\(nextHop) does not speak \(target.mailProtocol.name): it sent \(error.words) "
                    + "(\(target.words(for: stage)))",
                nextHop: nextHop)
        case .timedOut(let stage):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 4, 2),
                "\(nextHop) took too long (\(target.words(for: stage)))", nextHop: nextHop)
        case .connectionLost(let stage):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 4, 2),
                "The connection to \(nextHop) was lost (\(target.words(for: stage)))",
                nextHop: nextHop)
        case .abandoned(let reason):
            self.init(
                EnhancedStatus(.persistentTransientFailure, 3, 0),
                "The message could not be sent: \(reason)", nextHop: nextHop)
        case .unsendable(let obstacle):
            self.init(obstacle, nextHop: nextHop)
        case .tls(let what, _):
            let text = Self.text(of: what, with: target)
            self.init(
                failure.isPermanent ? Self.requireTLS : Self.status(of: what), text,
                nextHop: nextHop)
        case .login(let what):
            self.init(what, nextHop: nextHop)
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
        case .needsRequireTLS:
            self.init(
                Self.requireTLS, "\(nextHop) can't be used for messages with REQUIRETLS",
                nextHop: nextHop)
        }
    }
}

// MARK: - TLS and AUTH

extension FailureReason {
    /// RFC 8689 4.2.1 has 5.7.10 too, for a server without TLS. One code for everything that a sender
    /// can only answer by sending without REQUIRETLS is easier to act on.
    private static let requireTLS = EnhancedStatus(.permanentFailure, 7, 30)

    /// A domain whose mail exchangers anybody may have named (RFC 8689 4.2.1, step 2).
    static func unprovenExchangers(of server: RemoteServer) -> FailureReason {
        FailureReason(
            requireTLS,
            "The message requires TLS, and nothing proves which hosts take mail for \(server)")
    }

    /// RFC 3463 3.8: 7.4 is a security feature that isn't supported, 7.5 a cryptographic failure.
    private static func status(of failure: TLSFailure) -> EnhancedStatus {
        switch failure {
        case .notOffered, .refused, .requireTLSNotOffered:
            EnhancedStatus(.persistentTransientFailure, 7, 4)
        case .octetsInClear, .handshake, .unverified, .interrupted:
            EnhancedStatus(.persistentTransientFailure, 7, 5)
        }
    }

    private static func text(of failure: TLSFailure, with target: DeliveryTarget) -> String {
        let nextHop = target.description
        return switch failure {
        case .notOffered: "\(nextHop) does not offer TLS (STARTTLS), and here it is required"
        case .refused(let reply): "\(nextHop) refused STARTTLS: \(reply)"
        case .octetsInClear:
            "\(nextHop), or somebody on the way, sent octets in clear before the TLS handshake"
        case .handshake(let reason): "The TLS handshake with \(nextHop) failed: \(reason)"
        case .unverified: "The certificate of \(nextHop) does not show who it is"
        case .interrupted(let cause):
            "TLS with \(nextHop) was broken off: \(FailureReason(cause, with: target).text)"
        case .requireTLSNotOffered:
            "\(nextHop) does not offer REQUIRETLS, and the message requires it"
        }
    }

    private init(_ failure: LoginFailure, nextHop: String) {
        let (kind, detail, text): (Kind, UInt16, String) =
            switch failure {
            case .needsTLS:
                (
                    .loginFailed, 11,
                    "\(nextHop) offers no TLS, and the password is not sent in clear"
                )
            case .noMechanism: (.loginFailed, 4, "\(nextHop) offers neither AUTH PLAIN nor LOGIN")
            case .refused(let reply):
                (
                    reply.isPermanent ? .loginFailed : .transient, reply.isPermanent ? 8 : 0,
                    "\(nextHop) does not let us log in: \(reply)"
                )
            }
        // Whatever the code of the reply, it is never about a message.
        self.init(
            kind,
            DeliveryStatus(
                enhancedStatus: EnhancedStatus(.persistentTransientFailure, 7, detail),
                text: Array(text.utf8), nextHop: nextHop))
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
