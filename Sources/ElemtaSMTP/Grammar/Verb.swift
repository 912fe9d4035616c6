/// The command verbs that a session knows (RFC 5321 4.1.1 and the extensions), in any case.
///
/// A raw value is the verb's upper-case letters as a big-endian number: a verb is found by one
/// integer comparison.
public enum Verb: UInt64, CaseIterable, Sendable {
    case helo = 0x4845_4C4F
    case ehlo = 0x4548_4C4F
    case mail = 0x4D41_494C
    case rcpt = 0x5243_5054
    case data = 0x4441_5441
    case bdat = 0x4244_4154
    case rset = 0x5253_4554
    case noop = 0x4E4F_4F50
    case help = 0x4845_4C50
    case vrfy = 0x5652_4659
    case expn = 0x4558_504E
    case quit = 0x5155_4954

    // Answered 502 where they aren't switched on.
    case auth = 0x4155_5448
    case startTLS = 0x5354_4152_5454_4C53
    case xdebug = 0x5844_4542_5547
    case xclient = 0x58_434C_4945_4E54

    // Known, and always answered 502 (RFC 5321 4.2.4).
    case etrn = 0x4554_524E
    case atrn = 0x4154_524E
    case turn = 0x5455_524E
    case send = 0x5345_4E44
    case soml = 0x534F_4D4C
    case saml = 0x5341_4D4C
    case burl = 0x4255_524C
    case lhlo = 0x4C48_4C4F

    /// As it is written, in capitals.
    public var name: String {
        let octets = (0..<8).map { UInt8(truncatingIfNeeded: rawValue >> UInt64(56 - 8 * $0)) }
        return String(decoding: octets.drop { $0 == 0 }, as: UTF8.self)
    }

    /// The verb that is the whole first word of `line`, and the position behind it.
    static func first(of line: Span<UInt8>) -> (verb: Verb, end: Int)? {
        var packed: UInt64 = 0
        var position = 0
        while position < line.count, line[position].isLetter {
            guard position < 8 else { return nil }
            packed = packed << 8 | UInt64(line[position].uppercased)
            position += 1
        }
        guard position == line.count || line[position] == .space,
            let verb = Verb(rawValue: packed)
        else { return nil }
        return (verb, position)
    }

    /// Whether `line`, which may be incomplete or nonsense otherwise, begins as a BDAT command:
    /// unless its size is understood, nobody knows what follows it.
    static func isChunk(_ line: Span<UInt8>) -> Bool {
        line.hasKeyword("BDAT") && line.octet(at: 4)?.isLetDig != true
    }
}
