/// The replies to HELP and XDEBUG.
extension Reply {
    /// `verbs` are those that are available now.
    static func help(_ verbs: [String]) -> Reply {
        Reply(214, 0, 0, lines: [verbs.joined(separator: " "), "See RFC 5321"])
    }

    static func syntax(_ syntax: String) -> Reply { Reply(214, 0, 0, "Syntax: \(syntax)") }

    static let noSuchTopic = Reply(504, 5, 4, "No help on that")

    /// Dev mode shows what it knows without enhanced statuses: the first word is the label.
    static func debug(_ lines: [String]) -> Reply { Reply(plain: 250, lines: lines) }

    static let debugHelp = debug([
        "XDEBUG: everything", "XDEBUG STATE: where the transaction is",
        "XDEBUG CONNECTION: who talks to whom",
        "XDEBUG CONTEXT: greeting, TLS, login, extensions in use, counters", "XDEBUG HELP: this",
    ])

    /// What the address of a recipient has asked for (dev mode).
    static func requestedTrouble(_ code: UInt16) -> Reply {
        Reply(code, 0, 0, "As the address of a recipient has asked for")
    }
}

extension ServerSession {
    /// HELP (RFC 5321 4.1.1.8): the commands that are available now, or the syntax of one.
    mutating func help(_ line: Span<UInt8>, _ end: Int) -> Action {
        guard end < line.count else {
            return .reply(.help(availableSyntax.map { $0.verb }))
        }
        let topic = line.extracting((end + 1)..<line.count)
        for command in availableSyntax where topic.isKeyword(command.verb) {
            return .reply(.syntax(command.syntax))
        }
        return refuse(.noSuchTopic)
    }

    private var availableSyntax: [(verb: String, syntax: String)] {
        var available = [
            ("HELO", "HELO hostname"), ("EHLO", "EHLO hostname"),
            ("MAIL", "MAIL FROM:<address>\(mailParameterSyntax)"),
            ("RCPT", "RCPT TO:<address> [NOTIFY=conditions] [ORCPT=type;address]"),
            ("DATA", "DATA"), ("BDAT", "BDAT size [LAST]"), ("RSET", "RSET"),
            ("NOOP", "NOOP [text]"), ("HELP", "HELP [command]"), ("VRFY", "VRFY address"),
            ("QUIT", "QUIT"),
        ]
        if tls == nil, case .startTLS = parameters.offer.tls {
            available.append(("STARTTLS", "STARTTLS"))
        }
        if isAuthenticationOffered, user == nil {
            let mechanisms = parameters.offer.mechanisms.map(\.rawValue)
            available.append(
                ("AUTH", "AUTH \(mechanisms.joined(separator: "|")) [initial-response]"))
        }
        if parameters.offer.isDevelopment {
            available.append(("XDEBUG", "XDEBUG [STATE|CONNECTION|CONTEXT|HELP]"))
        }
        if client.mayUseXCLIENT {
            available.append(("XCLIENT", "XCLIENT attribute=value..."))
        }
        return available
    }

    private var mailParameterSyntax: String {
        let offer = parameters.offer
        var syntax =
            " [SIZE=octets] [BODY=7BIT|8BITMIME] [SMTPUTF8] [RET=FULL|HDRS] [ENVID=text]"
        if !offer.mechanisms.isEmpty { syntax += " [AUTH=address]" }
        if tls != nil, offer.offersRequireTLS { syntax += " [REQUIRETLS]" }
        return syntax
    }
}
