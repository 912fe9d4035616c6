import ElemtaSMTP

/// A message as it stands in a maildir: lines end with LF alone.
///
/// A CR that isn't part of a CRLF stays, as does a bare LF, which ends a line for whoever reads.
struct MaildirText {
    private enum Position {
        case lineStart, insideLine, afterCR
    }

    private var position = Position.lineStart

    /// What final delivery puts on top: the reverse-path (RFC 5321 4.4) and who got it.
    static func head(from reversePath: ReversePath, to recipient: Mailbox) -> [UInt8] {
        Array("Return-Path: \(reversePath)\nDelivered-To: \(recipient)\n".utf8)
    }

    /// The next piece of content.
    mutating func convert(_ octets: [UInt8]) -> [UInt8] {
        var lines: [UInt8] = []
        lines.reserveCapacity(octets.count + 1)
        for octet in octets {
            if case .afterCR = position, octet != UInt8(ascii: "\n") {
                lines.append(UInt8(ascii: "\r"))
            }
            switch octet {
            case UInt8(ascii: "\r"): position = .afterCR
            case UInt8(ascii: "\n"):
                position = .lineStart
                lines.append(octet)
            default:
                position = .insideLine
                lines.append(octet)
            }
        }
        return lines
    }

    /// What is still owed behind the last piece: a last line that isn't ended is.
    func end() -> [UInt8] {
        switch position {
        case .lineStart: []
        case .insideLine: [UInt8(ascii: "\n")]
        case .afterCR: [UInt8(ascii: "\r"), UInt8(ascii: "\n")]
        }
    }
}
