/// The trace field that a server puts in front of what it accepts (RFC 5321 4.4). Nothing else is
/// ever added on top of a message.
public enum ReceivedField {
    /// A recipient longer than this isn't named: the line would go beyond the 998 octets of
    /// RFC 5322 2.1.1. Octets.
    private static let maximumRecipientLength = 900

    /// The whole field with its CRLF, folded.
    ///
    /// - Parameters:
    ///   - heloName: what the client said in HELO or EHLO, as the grammar let it pass.
    ///   - address: where the connection came from.
    ///   - protocolName: `ServerSession.protocolName(for:)`.
    ///   - tls: `ServerSession.tls`; named in a comment.
    ///   - id: the message's id; an atom.
    ///   - recipient: named when the transaction has exactly this one. Several would tell each of the
    ///     others (RFC 5321 7.2).
    public static func octets(
        heloName: [UInt8], address: IPAddress, hostname: String, protocolName: String,
        tls: TLSSummary? = nil, id: [UInt8], recipient: ForwardPath?, time: UnixTime
    ) -> [UInt8] {
        var octets: [UInt8] = []
        octets.reserveCapacity(256)
        octets.append(contentsOf: "Received: from ".utf8)
        octets.append(contentsOf: heloName)
        octets.append(contentsOf: " (".utf8)
        octets.append(contentsOf: address.addressLiteral.utf8)
        octets.append(contentsOf: ")".utf8)
        if let tls {
            let comment = "(using \(tls.protocolName) with cipher \(tls.cipher))"
            octets.append(contentsOf: "\r\n\t\(comment)".utf8)
        }
        octets.append(contentsOf: "\r\n\tby ".utf8)
        octets.append(contentsOf: hostname.utf8)
        octets.append(contentsOf: " with ".utf8)
        octets.append(contentsOf: protocolName.utf8)
        octets.append(contentsOf: " id ".utf8)
        octets.append(contentsOf: id)
        if let mailbox = recipient?.mailbox, mailbox.octets.count <= maximumRecipientLength {
            octets.append(contentsOf: "\r\n\tfor <".utf8)
            octets.append(contentsOf: mailbox.octets)
            octets.append(.closeAngle)
        }
        octets.append(contentsOf: ";\r\n\t".utf8)
        time.appendRFC5322(to: &octets)
        octets.append(contentsOf: "\r\n".utf8)
        return octets
    }
}
