/// Where reports about a message go: the argument of MAIL (RFC 5321 4.1.1.2).
public enum ReversePath: Hashable, Sendable {
    /// `<>`: a report itself, about which nobody must be told anything (RFC 5321 4.5.5).
    case null
    case mailbox(Mailbox)
}

/// Whom a message is for: the argument of RCPT (RFC 5321 4.1.1.3).
public enum ForwardPath: Hashable, Sendable {
    /// `<Postmaster>` without a domain.
    case postmaster
    case mailbox(Mailbox)
}

extension ReversePath: CustomStringConvertible {
    /// With its angle brackets.
    public var description: String {
        switch self {
        case .null: "<>"
        case .mailbox(let mailbox): "<\(mailbox)>"
        }
    }

    public var mailbox: Mailbox? {
        switch self {
        case .null: nil
        case .mailbox(let mailbox): mailbox
        }
    }
}

extension ForwardPath: CustomStringConvertible {
    /// With its angle brackets.
    public var description: String {
        switch self {
        case .postmaster: "<Postmaster>"
        case .mailbox(let mailbox): "<\(mailbox)>"
        }
    }

    public var mailbox: Mailbox? {
        switch self {
        case .postmaster: nil
        case .mailbox(let mailbox): mailbox
        }
    }
}
