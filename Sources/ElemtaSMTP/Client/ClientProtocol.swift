/// Which of the two protocols a client speaks.
public enum ClientProtocol: Hashable, Sendable {
    /// RFC 5321.
    case smtp
    /// RFC 2033: LHLO instead of EHLO, and a reply for each recipient behind the content. Who takes
    /// mail this way puts it into mailboxes. `isLocal`: what is said never leaves this machine.
    case lmtp(isLocal: Bool)

    /// The command that a session begins with; RFC 2033 4.1 has neither EHLO nor HELO.
    var hello: String {
        switch self {
        case .smtp: "EHLO"
        case .lmtp: "LHLO"
        }
    }

    /// RFC 2033 4.2: whether the end of the data is answered once for each accepted recipient.
    var answersEachRecipient: Bool {
        switch self {
        case .smtp: false
        case .lmtp: true
        }
    }

    /// Whether a message that requires TLS may go without (RFC 8689 2 has the extension apply to LMTP
    /// too): only what nobody on any wire can read.
    var needsNoTLS: Bool {
        switch self {
        case .smtp: false
        case .lmtp(let isLocal): isLocal
        }
    }
}
