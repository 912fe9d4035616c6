import ElemtaSMTP

/// Why MAIL, RCPT or content was refused, for the label `reason`.
enum RejectionReason: String, CaseIterable, Sendable {
    case syntax, sequence, rate, storage, timeout, loop, relaying, utf8, closing, other
    case tooLarge = "too_large"
    case bareNewline = "bare_newline"
    case unknownRecipient = "unknown_recipient"
    case unverifiableRecipient = "unverifiable_recipient"
    case tooManyRecipients = "too_many_recipients"
    case loginRequired = "login_required"
    case tlsRequired = "tls_required"
    case senderNotAllowed = "sender_not_allowed"

    /// - Parameter reply: a negative one, as the catalogue of replies has it.
    init(_ reply: Reply) {
        self =
            switch (reply.code, reply.enhancedStatus?.subject, reply.enhancedStatus?.detail) {
            case (421, 4, 2): .timeout
            case (421, _, _): .closing
            case (450, 7, 1): .rate
            case (451, _, _): .unverifiableRecipient
            case (452, 3, 1): .storage
            case (452, 5, 3): .tooManyRecipients
            case (500...502, _, _), (504, _, _), (555, _, _): .syntax
            case (503, _, _): .sequence
            case (530, _, _): reply == .loginRequired ? .loginRequired : .tlsRequired
            case (550, 6, 11): .bareNewline
            case (550, 1, 1): .unknownRecipient
            case (552, 3, 4): .tooLarge
            case (553, 6, 7): .utf8
            case (553, 7, 1): .senderNotAllowed
            case (554, 7, 1): .relaying
            case (554, 4, 6): .loop
            case _: .other
            }
    }
}
