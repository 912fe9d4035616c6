import ElemtaConfiguration
import ElemtaSMTP

/// The envelope that the command line and the header section make together.
struct SendmailEnvelope {
    /// Why there is none.
    struct Failure: Error, Equatable {
        let status: ExitStatus
        let text: String

        init(_ status: ExitStatus, _ text: String) {
            self.status = status
            self.text = text
        }
    }

    var reversePath: ReversePath
    /// Never empty.
    var recipients: [AcceptedRecipient]
    var parameters: MailParameters

    /// Completes the message, too: `From`, `Date` and `Message-ID` where they are missing.
    ///
    /// - Parameters:
    ///   - domain: of addresses that have none.
    ///   - id: what the message is called in a `Message-ID`; an atom.
    init(
        _ arguments: SendmailArguments, _ message: inout SendmailMessage,
        of identity: SendmailIdentity, in domain: Domain, id: String, time: UnixTime
    ) throws(Failure) {
        let own = Mailbox(localPart: identity.login.utf8, domain: domain)
        let sender = try Self.sender(arguments.sender, own, domain)
        reversePath = sender.map { .mailbox($0) } ?? .null
        recipients = try Self.recipients(arguments, message, domain)
        parameters = MailParameters()
        if let returns = arguments.returns {
            parameters.returnContent = ReturnContent(rawValue: returns.uppercased())
            guard parameters.returnContent != nil else {
                throw Failure(.usage, "-R: allowed: full, hdrs")
            }
        }
        if let id = arguments.envelopeID {
            guard (1...100).contains(id.utf8.count), id.utf8.allSatisfy({ (32...126).contains($0) })
            else { throw Failure(.usage, "-V: allowed: 1 to 100 printable ASCII characters") }
            parameters.envelopeID = Array(id.utf8)
        }
        if !message.has("from") {
            guard let author = sender ?? own else {
                throw Failure(.usage, "nobody to write into From: -f")
            }
            let name = arguments.fullName ?? (author == own ? identity.fullName : nil)
            message.add("From", SendmailIdentity.from(author, name: name))
        }
        if !message.has("date") { message.add("Date", time.rfc5322) }
        if !message.has("message-id") { message.add("Message-ID", "<\(id)@\(domain)>") }
        parameters.smtputf8 =
            message.isInternationalized || sender?.isInternationalized == true
            || recipients.contains { $0.path.mailbox?.isInternationalized == true }
    }

    /// Nil for `<>`.
    private static func sender(
        _ text: String?, _ own: Mailbox?, _ domain: Domain
    ) throws(Failure) -> Mailbox? {
        guard let text else {
            guard let own else { throw Failure(.usage, "your login name is no address: -f") }
            return own
        }
        if text.isEmpty || text == "<>" { return nil }
        guard let list = AddressList(text), list.addresses.count == 1,
            let mailbox = list.addresses.first?.mailbox(in: domain)
        else { throw Failure(.usage, "-f: \(shown(text)) is no address") }
        return mailbox
    }

    /// Those of the command line, then those of the header section, each once.
    private static func recipients(
        _ arguments: SendmailArguments, _ message: SendmailMessage, _ domain: Domain
    ) throws(Failure) -> [AcceptedRecipient] {
        var addresses: [HeaderAddress] = []
        for word in arguments.recipients {
            guard let list = AddressList(word), !list.addresses.isEmpty else {
                throw Failure(.usage, "\(shown(word)) is no address")
            }
            addresses += list.addresses
        }
        if arguments.readsRecipients {
            do throws(SendmailMessage.Failure) {
                addresses += try message.recipients()
            } catch {
                throw Failure(.dataError, "\(error)")
            }
        }
        guard !addresses.isEmpty else {
            throw arguments.readsRecipients
                ? Failure(.dataError, "the header section names no recipient")
                : Failure(
                    .usage, "no recipient: name them, or have them read from the header by -t")
        }
        let notify = try arguments.notify.map(notifyConditions) ?? []
        var seen: Set<Mailbox> = []
        return addresses.compactMap { $0.mailbox(in: domain) }.filter { seen.insert($0).inserted }
            .map { AcceptedRecipient(path: .mailbox($0), notify: notify) }
    }

    private static func notifyConditions(_ text: String) throws(Failure) -> NotifyConditions {
        var conditions: NotifyConditions = []
        for word in text.lowercased().split(separator: ",", omittingEmptySubsequences: false) {
            switch word {
            case "never": conditions.insert(.never)
            case "success": conditions.insert(.success)
            case "failure": conditions.insert(.failure)
            case "delay": conditions.insert(.delay)
            default: throw Failure(.usage, "-N: allowed: never, or success,failure,delay")
            }
        }
        guard conditions == .never || !conditions.contains(.never) else {
            throw Failure(.usage, "-N: never stands alone")
        }
        return conditions
    }

    private static func shown(_ text: String) -> String {
        String(text.prefix(200)).debugDescription
    }
}

extension HeaderAddress {
    /// With `domain` where it has none.
    func mailbox(in domain: Domain) -> Mailbox? {
        switch self {
        case .mailbox(let mailbox): mailbox
        case .localPart(let octets): Mailbox(localPart: octets, domain: domain)
        }
    }
}
