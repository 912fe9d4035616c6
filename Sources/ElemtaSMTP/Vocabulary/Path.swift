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

extension ForwardPath {
    /// The first paths, as many as go into `octetLimit` octets together with the number of the
    /// others: `<a@example.com>, <b@example.com> and 3 more`.
    public static func abridged(_ paths: [ForwardPath], octetLimit: Int) -> String {
        var text = ""
        for (index, path) in paths.enumerated() {
            let next = (index == 0 ? "" : ", ") + path.description
            let others = paths.count - index - 1
            let end = others > 0 ? " and \(others) more" : ""
            guard text.utf8.count + next.utf8.count + end.utf8.count <= octetLimit else {
                let more = "\(index == 0 ? "" : " and ")\(paths.count - index) more"
                return text + more
            }
            text += next
        }
        return text
    }
}
