import ElemtaSMTP

/// What became of a connection when it came, for the label `outcome`.
enum ConnectionOutcome: String, CaseIterable, Sendable {
    case accepted
    /// `limits.max_connections` was reached.
    case tooMany = "too_many"
    /// `limits.max_connections_per_ip` was reached.
    case tooManyFromAddress = "too_many_from_address"
    /// Not in `trusted_proxies`.
    case untrustedProxy = "untrusted_proxy"
    case shuttingDown = "shutting_down"
    /// The system had no descriptor or memory for it.
    case failed
}

/// What clients have done at one listener. Reactor thread only.
final class ListenerCounters {
    /// As the configuration has it.
    let address: String
    /// Sessions that there are now.
    var open = 0
    var outcomes = Tally<ConnectionOutcome>()

    init(address: String) {
        self.address = address
    }
}

/// What clients have done. Reactor thread only: plain numbers, whoever counts is there already.
struct SessionCounters {
    private(set) var listeners: [ListenerCounters] = []
    private(set) var commands: [ServerSession.Command: UInt64] = [:]
    /// By code less 200.
    private var replies = [UInt64](repeating: 0, count: 400)
    private(set) var tlsSessions: [String: UInt64] = [:]
    var tlsFailures: UInt64 = 0
    var acceptedMessages: UInt64 = 0
    var acceptedOctets: UInt64 = 0
    private(set) var rejectedMessages = Tally<RejectionReason>()
    private(set) var rejectedOctets = Tally<RejectionReason>()
    private(set) var rejectedRecipients = Tally<RejectionReason>()
    private(set) var loopLag = HistogramCounts(bounds: Self.lagBounds)

    /// Seconds.
    private static let lagBounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

    /// The counters of the listener at `address`, which go on when it is opened anew.
    mutating func listener(at address: String) -> ListenerCounters {
        if let known = listeners.first(where: { $0.address == address }) { return known }
        let made = ListenerCounters(address: address)
        listeners.append(made)
        return made
    }

    mutating func count(_ command: ServerSession.Command) {
        commands[command, default: 0] += 1
    }

    /// Counts a reply. `command`: what it answers, nil where it answers none or no more; `octets`: of
    /// content that came behind that.
    mutating func count(_ reply: Reply, to command: ServerSession.Command?, octets: Int) {
        let index = Int(reply.code) - 200
        if replies.indices.contains(index) { replies[index] += 1 }
        guard !reply.isPositive, case .known(let verb) = command else { return }
        switch verb {
        case .mail: rejectedMessages.add(to: RejectionReason(reply))
        case .rcpt: rejectedRecipients.add(to: RejectionReason(reply))
        case .data, .bdat:
            let reason = RejectionReason(reply)
            rejectedMessages.add(to: reason)
            rejectedOctets.add(UInt64(octets), to: reason)
        case _: break
        }
    }

    mutating func countTLS(_ summary: TLSSummary) {
        tlsSessions[summary.protocolName, default: 0] += 1
    }

    mutating func observe(loopLag: Duration) {
        self.loopLag.observe(max(loopLag, .zero).seconds)
    }

    /// Codes that were sent, with how often, in ascending order.
    var repliesByCode: [(code: Int, count: UInt64)] {
        replies.enumerated().filter { $0.element > 0 }.map { ($0.offset + 200, $0.element) }
    }
}
