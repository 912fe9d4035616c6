/// XCLIENT: a trusted client says for whom it speaks, as Postfix's XCLIENT_README describes it.
extension ServerSession {
    mutating func xclient(_ line: Span<UInt8>, _ end: Int) -> Action {
        guard client.mayUseXCLIENT else { return refuse(.notImplemented) }
        guard !isInTransaction else { return refuse(.notInTransaction) }
        guard let attributes = Grammar.clientAttributes(line, end) else {
            return refuse(.xclientSyntax)
        }
        var identity = client
        if let address = attributes.address {
            identity.address = address
            // The connection's own port says nothing about this address.
            identity.port = 0
        }
        if let port = attributes.port { identity.port = port }
        phase = .asking(.client(identity, attributes.introduction))
        return .ask(.client(identity, login: attributes.login))
    }

    /// The session begins anew for another client, with a greeting of its own. It may say XCLIENT
    /// again, as the right is the connection's.
    mutating func speak(
        for identity: ClientIdentity, _ introduction: ClientIntroduction?,
        as login: AuthenticatedUser?, _ isBareNewlineExempt: Bool
    ) -> Action {
        client = identity
        startAnew()
        user = login
        bareNewline = isBareNewlineExempt ? .normalize : parameters.bareNewline
        failedLoginCount = 0
        forgetErrors()
        if let introduction {
            introduce(introduction.name, isExtended: introduction.isExtended)
        }
        return .reply(greeting())
    }
}

/// How the client has introduced itself to whom XCLIENT speaks for it.
struct ClientIntroduction {
    let name: [UInt8]
    let isExtended: Bool
}
