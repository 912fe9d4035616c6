import ElemtaConfiguration
import ElemtaDelivery
import ElemtaReactor
import ElemtaSMTP

/// The running server, as any user of this machine reaches it: by SMTP. The control socket would be
/// nearer, and would need rights on the queue: everybody who may send could then also read and delete.
struct SendmailServer {
    /// No listener can be spoken to.
    struct NoListener: Error {}

    /// How long the server may take for all of a message.
    private static let limit = Duration.seconds(600)

    let address: SocketAddress
    private let configuration: Configuration

    /// Chooses a listener: neither one for a load balancer nor one that begins with TLS, and one that
    /// asks for a login only when there is no other.
    init(_ configuration: Configuration) throws(NoListener) {
        let plain = configuration.listeners.filter { !$0.proxyProtocol && $0.tls != .implicit }
        guard let listener = plain.first(where: { !$0.authRequired }) ?? plain.first else {
            throw NoListener()
        }
        address = listener.address.nearAddress
        self.configuration = configuration
    }

    /// Sends `content` to the recipients of `envelope`, in as many transactions as
    /// `limits.max_recipients` asks for. What went wrong is complained about.
    func send(_ content: [UInt8], to envelope: SendmailEnvelope) throws -> ExitStatus {
        var status = ExitStatus.success
        var rest = envelope.recipients[...]
        while !rest.isEmpty {
            let group = Array(rest.prefix(configuration.limits.maxRecipients))
            rest = rest.dropFirst(group.count)
            let transaction = ClientTransaction(
                reversePath: envelope.reversePath, parameters: envelope.parameters,
                recipients: group, content: ContentSummary(of: content))
            let outcome = try perform(transaction, content)
            let result = judge(outcome, group)
            // What can't be mended by trying again is the first to be told.
            if status == .success || status == .temporaryFailure && result != .success {
                status = result
            }
        }
        return status
    }

    private var peer: SingleTransaction.Peer {
        SingleTransaction.Peer(address, heloName: Array("\(configuration.hostname)".utf8))
    }

    private func perform(
        _ transaction: ClientTransaction, _ content: [UInt8]
    ) throws(ReactorError) -> SingleTransaction.Outcome {
        let loop = try EventLoop()
        var outcome = SingleTransaction.Outcome.failed(.timedOut(.greeting))
        let sending = SingleTransaction(with: peer, transaction, content: content) { outcome = $0 }
        sending.closed = { loop.stop() }
        do throws(ReactorError) {
            try sending.start(on: loop, within: Self.limit)
        } catch {
            return .unreachable(error)
        }
        loop.run()
        return outcome
    }

    // MARK: What came of it

    private func judge(
        _ outcome: SingleTransaction.Outcome, _ recipients: [AcceptedRecipient]
    ) -> ExitStatus {
        switch outcome {
        case .unreachable(let error):
            complain("no server at \(address): \(error)")
            return .temporaryFailure
        case .failed(let failure):
            complain(text(of: failure))
            return Self.status(of: failure)
        case .ended(let result):
            return judge(result, recipients)
        }
    }

    private func judge(
        _ result: TransactionResult, _ recipients: [AcceptedRecipient]
    ) -> ExitStatus {
        var status = ExitStatus.success
        for (recipient, verdict) in zip(recipients, result.verdicts) {
            switch verdict {
            case .accepted: continue
            case .deferred(let failure), .failed(let failure):
                complain("\(recipient.path): \(text(of: failure))")
                let worse = Self.status(of: failure)
                if status == .success || status == .temporaryFailure { status = worse }
            }
        }
        if result.mayBeDuplicated { complain("the server may have taken the message all the same") }
        return status
    }

    private func text(of failure: ClientFailure) -> String {
        var text = ""
        for scalar in peer.text(of: failure).unicodeScalars {
            text.unicodeScalars.append(scalar.isHarmless ? scalar : "?")
        }
        return text
    }

    private static func status(of failure: ClientFailure) -> ExitStatus {
        switch failure {
        case .reply(let reply, let stage): status(of: reply, stage)
        case .unsendable: .dataError
        case .protocolError, .timedOut, .connectionLost, .abandoned, .tls, .login:
            .temporaryFailure
        }
    }

    private static func status(of reply: RemoteReply, _ stage: ClientStage) -> ExitStatus {
        switch (reply.code, stage) {
        case (400...499, _): .temporaryFailure
        case (530, _), (535, _), (538, _): .noPermission
        case (550...553, .recipient) where reply.enhanced?.subject == 1: .noUser
        case (_, .content), (_, .endOfData): .dataError
        default: .unavailable
        }
    }
}

extension ContentSummary {
    /// Of content in lines that end with CRLF.
    fileprivate init(of content: [UInt8]) {
        self.init(octetCount: UInt64(content.count))
        if content.contains(where: { $0 > 127 }) { traits.insert(.eightBit) }
        if content.contains(0) { traits.insert(.nul) }
    }
}

extension Configuration.ListenAddress {
    /// Where a program on this machine reaches it: loopback where every address will do.
    fileprivate var nearAddress: SocketAddress {
        switch host?.storage {
        case nil, .v4(0): SocketAddress(host: .v4(0x7F00_0001), port: port)
        case .v4(let address): SocketAddress(host: .v4(address), port: port)
        case .v6(0, 0): SocketAddress(host: .v6(high: 0, low: 1), port: port)
        case .v6(let high, let low): SocketAddress(host: .v6(high: high, low: low), port: port)
        }
    }
}
