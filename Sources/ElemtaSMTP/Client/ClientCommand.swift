/// The commands a client sends, as octets with their CRLF.
enum ClientCommand: Hashable, Sendable {
    case reset
    case mail
    /// By position in `ClientTransaction.recipients`.
    case recipient(Int)
    case data

    var stage: ClientStage {
        switch self {
        case .reset, .mail: .mail
        case .recipient: .recipient
        case .data: .data
        }
    }
}

/// Composes the commands of one transaction for what the server offers.
struct CommandComposer: Sendable {
    let transaction: ClientTransaction
    let extensions: ServerExtensions
    let body: BodyType
    let smtputf8: Bool
    let requireTLS: Bool

    func append(_ command: ClientCommand, to octets: inout [UInt8]) {
        switch command {
        case .reset: octets += "RSET".utf8
        case .mail: appendMail(to: &octets)
        case .recipient(let index): appendRecipient(transaction.recipients[index], to: &octets)
        case .data: octets += "DATA".utf8
        }
        octets += "\r\n".utf8
    }

    /// RFC 5321 4.1.1.2, RFC 1870 3, RFC 6152 3, RFC 6531 3.4, RFC 8689 2, RFC 4954 5, RFC 3461 4.3
    /// and 4.4.
    private func appendMail(to octets: inout [UInt8]) {
        octets += "MAIL FROM:<".utf8
        if case .mailbox(let mailbox) = transaction.reversePath { octets += mailbox.octets }
        octets += ">".utf8
        if extensions.size != .notOffered {
            octets += " SIZE=\(transaction.content.octetCount)".utf8
        }
        if body != .sevenBit { octets += " BODY=\(body.rawValue)".utf8 }
        if smtputf8 { octets += " SMTPUTF8".utf8 }
        if requireTLS { octets += " REQUIRETLS".utf8 }
        if extensions.mechanisms != nil, let submitter = transaction.parameters.submitter {
            octets += " AUTH=".utf8
            // RFC 4954 5: `<>` stands for nobody known.
            if submitter.isEmpty { octets += "<>".utf8 }
            Self.appendXtext(submitter, to: &octets)
        }
        guard extensions.dsn else { return }
        if let content = transaction.parameters.returnContent {
            octets += " RET=\(content.rawValue)".utf8
        }
        if let envelopeID = transaction.parameters.envelopeID {
            octets += " ENVID=".utf8
            Self.appendXtext(envelopeID, to: &octets)
        }
    }

    /// RFC 5321 4.1.1.3, RFC 3461 4.1 and 4.2.
    private func appendRecipient(_ recipient: AcceptedRecipient, to octets: inout [UInt8]) {
        octets += "RCPT TO:<".utf8
        switch recipient.path {
        case .postmaster: octets += "Postmaster".utf8
        case .mailbox(let mailbox): octets += mailbox.octets
        }
        octets += ">".utf8
        guard extensions.dsn else { return }
        if !recipient.notify.isEmpty {
            octets += " NOTIFY=\(recipient.notify.parameterValue)".utf8
        }
        guard let original = recipient.originalRecipient else { return }
        // RFC 6533 3: octets beyond ASCII travel as they are, and only with SMTPUTF8.
        let isASCII = original.address.allSatisfy { $0 < 0x80 }
        guard isASCII || smtputf8 else { return }
        octets += " ORCPT=".utf8
        octets += original.addressType
        octets += ";".utf8
        Self.appendXtext(original.address, keepingUTF8: true, to: &octets)
    }

    /// RFC 3461 4: `xtext = *( xchar / hexchar )`; `+`, `=` and what isn't printable ASCII become
    /// `+` and two upper-case digits.
    static func appendXtext(
        _ plain: [UInt8], keepingUTF8: Bool = false, to octets: inout [UInt8]
    ) {
        let digits = Array("0123456789ABCDEF".utf8)
        for octet in plain {
            switch octet {
            case 0x80... where keepingUTF8:
                octets.append(octet)
            case UInt8(ascii: "+"), UInt8(ascii: "="), 0...0x20, 0x7F...:
                octets.append(UInt8(ascii: "+"))
                octets.append(digits[Int(octet >> 4)])
                octets.append(digits[Int(octet & 0xF)])
            default:
                octets.append(octet)
            }
        }
    }
}
