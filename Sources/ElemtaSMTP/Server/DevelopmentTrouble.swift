/// Trouble that the local part of a recipient asks for in dev mode, for people who test what their
/// application does about it.
///
/// | local part | what happens |
/// | --- | --- |
/// | `reject-550` (500 to 599) | RCPT is answered with this code |
/// | `defer-451` (400 to 499; 421 closes) | RCPT is answered with this code |
/// | `data-554` (400 to 599; 421 closes) | the content is answered with this code |
/// | `delay-5s` (1 to 600) | the answer to RCPT comes so many seconds later |
/// | `drop` | the connection is closed without an answer |
public enum DevelopmentTrouble: Hashable, Sendable {
    /// RCPT is refused.
    case refuseRecipient(code: UInt16)
    /// The message is refused once its content is there.
    case refuseContent(code: UInt16)
    case delay(seconds: Int)
    case drop

    /// The trouble that a local part asks for, in any case; nil for all others.
    public static func parse(_ localPart: some Sequence<UInt8>) -> DevelopmentTrouble? {
        let text = Array(localPart)
        if text.span.isKeyword("DROP") { return .drop }
        guard let hyphen = text.firstIndex(of: .hyphen),
            let (value, end) = Grammar.number(text.span, hyphen + 1),
            let number = UInt16(exactly: value)
        else { return nil }
        let word = text.span.extracting(0..<hyphen)
        if word.isKeyword("DELAY") {
            let isWhole = text.span.extracting(end..<text.count).isKeyword("S")
            return isWhole && (1...600).contains(number) ? .delay(seconds: Int(number)) : nil
        }
        guard end == text.count else { return nil }
        if word.isKeyword("REJECT"), (500...599).contains(number) {
            return .refuseRecipient(code: number)
        }
        if word.isKeyword("DEFER"), (400...499).contains(number) {
            return .refuseRecipient(code: number)
        }
        if word.isKeyword("DATA"), (400...599).contains(number) {
            return .refuseContent(code: number)
        }
        return nil
    }
}

extension ServerSession {
    /// Nil: nothing stands in the recipient's way.
    mutating func troubleWithRecipient(
        _ recipient: AcceptedRecipient, of transaction: MailTransaction
    ) -> Action? {
        guard let trouble = trouble(of: recipient) else { return nil }
        switch trouble {
        case .refuseContent:
            return nil
        case .refuseRecipient(let code):
            phase = .transaction(transaction)
            return refuse(.requestedTrouble(code), isRecipient: true)
        case .delay(let seconds):
            return hold(.recipient(transaction, recipient), seconds: seconds)
        case .drop:
            return close(nil)
        }
    }

    /// The refusal that a recipient has asked for.
    func troubleWithContent(of transaction: MailTransaction) -> Reply? {
        guard parameters.offer.isDevelopment else { return nil }
        for recipient in transaction.recipients {
            if case .refuseContent(let code)? = trouble(of: recipient) {
                return .requestedTrouble(code)
            }
        }
        return nil
    }

    private func trouble(of recipient: AcceptedRecipient) -> DevelopmentTrouble? {
        guard parameters.offer.isDevelopment, let mailbox = recipient.path.mailbox else {
            return nil
        }
        return DevelopmentTrouble.parse(mailbox.localPart)
    }
}
