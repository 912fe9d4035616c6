/// A reply as the other server sent it (RFC 5321 4.2): bounded, and harmless to print.
public struct RemoteReply: Hashable, Sendable {
    /// The three digits, 200...599.
    public let code: UInt16
    /// The enhanced status at the start of the text (RFC 2034), when its class agrees with `code`.
    public let enhanced: EnhancedStatus?
    /// The text of every line without its code, lines joined by one LF. Control characters were
    /// replaced by `?`; octets beyond ASCII are as they came.
    public let text: [UInt8]

    public init(code: UInt16, enhanced: EnhancedStatus?, text: [UInt8]) {
        self.code = code
        self.enhanced = enhanced
        self.text = text
    }

    /// 2xx: the command was carried out.
    public var isPositive: Bool { code / 100 == 2 }
    /// 4xx: the same may work later.
    public var isTransient: Bool { code / 100 == 4 }
    /// 5xx: don't try again.
    public var isPermanent: Bool { code / 100 == 5 }
    /// RFC 5321 3.8: the server closes the connection, whatever was asked.
    var closesConnection: Bool { code == 421 }
}

extension RemoteReply: CustomStringConvertible {
    /// Code and text on one line, for logs and delivery reports.
    public var description: String {
        let line = text.map { $0 == UInt8(ascii: "\n") ? UInt8(ascii: " ") : $0 }
        return line.isEmpty ? "\(code)" : "\(code) \(String(decoding: line, as: UTF8.self))"
    }
}

/// What makes a server's octets no reply. Each ends the connection: the place in the stream is lost.
public enum ReplyError: Hashable, Sendable {
    /// Not `digit digit digit (SP | "-" | CRLF)` with a first digit of 2 to 5, or a NUL.
    case malformed
    /// The lines of one reply carry different codes (RFC 5321 4.2.1).
    case codesDiffer
    /// A line beyond `ReplyParser.maximumLine`.
    case lineTooLong
    /// A reply beyond `ReplyParser.maximumReply`.
    case replyTooLong
    /// Octets came though no command was waiting for a reply.
    case unexpected
    /// A well-formed reply that this command can't have, such as 354 to MAIL.
    case outOfSequence(UInt16)
}

/// Puts replies together from octets that TCP cut anywhere.
///
/// What a server can make it hold is bounded: one line of `maximumLine` octets and the text of one
/// reply of `maximumReply`.
struct ReplyParser: ~Copyable {
    /// Octets of one line without its CRLF. RFC 5321 4.5.3.1.5 says 512 with it; servers in the
    /// wild go beyond, none goes beyond this.
    static let maximumLine = 2_048
    /// Octets of one reply, CRLFs included. RFC 5321 knows no limit; the largest honest replies
    /// (EHLO, rejections that quote policies) are some 2 KiB.
    static let maximumReply = 16_384

    enum Outcome {
        case incomplete
        case reply(RemoteReply)
        case invalid(ReplyError)
    }

    /// The line that has begun and not ended.
    private var line: [UInt8] = []
    private var text: [UInt8] = []
    /// The code of the lines before this one.
    private var code: UInt16?
    /// Octets of this reply so far.
    private var octetCount = 0

    init() {}

    /// True between the first octet of a reply and its end.
    var isInsideReply: Bool { octetCount > 0 }

    /// Reads to the end of one reply at most; says how many octets it took.
    mutating func next(in input: Span<UInt8>) -> (consumed: Int, outcome: Outcome) {
        var index = 0
        while index < input.count {
            let octet = input[index]
            index += 1
            octetCount += 1
            if octetCount > Self.maximumReply { return (index, .invalid(.replyTooLong)) }
            guard octet == UInt8(ascii: "\n") else {
                // One more for the CR that will turn out to belong to the CRLF.
                if line.count > Self.maximumLine { return (index, .invalid(.lineTooLong)) }
                line.append(octet)
                continue
            }
            switch endLine() {
            case .incomplete: continue
            case .reply(let reply): return (index, .reply(reply))
            case .invalid(let error): return (index, .invalid(error))
            }
        }
        return (index, .incomplete)
    }

    /// RFC 5321 4.2: `*( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF`.
    /// A bare LF is taken for CRLF: whoever ends a reply so can only fool himself.
    private mutating func endLine() -> Outcome {
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        defer { line.removeAll(keepingCapacity: true) }
        guard line.count >= 3, let lineCode = Self.code(of: line) else {
            return .invalid(.malformed)
        }
        if let code, code != lineCode { return .invalid(.codesDiffer) }
        let isLast: Bool
        if line.count == 3 {
            isLast = true
        } else if line[3] == UInt8(ascii: " ") {
            isLast = true
        } else if line[3] == UInt8(ascii: "-") {
            isLast = false
        } else {
            return .invalid(.malformed)
        }
        if code != nil { text.append(UInt8(ascii: "\n")) }
        for octet in line.dropFirst(4) {
            if octet == 0 { return .invalid(.malformed) }
            text.append(octet < 0x20 || octet == 0x7F ? UInt8(ascii: "?") : octet)
        }
        guard isLast else {
            code = lineCode
            return .incomplete
        }
        let reply = RemoteReply(
            code: lineCode, enhanced: Self.enhancedStatus(in: text, of: lineCode), text: text)
        self = ReplyParser()
        return .reply(reply)
    }

    /// RFC 5321 4.2: `Reply-code = %x32-35 %x30-35 %x30-39`; the second digit is not held against
    /// anyone.
    private static func code(of line: [UInt8]) -> UInt16? {
        var code: UInt16 = 0
        for octet in line.prefix(3) {
            guard let digit = decimalDigit(octet) else { return nil }
            code = code * 10 + UInt16(digit)
        }
        return 200...599 ~= code ? code : nil
    }

    private static func decimalDigit(_ octet: UInt8) -> UInt8? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= octet ? octet - UInt8(ascii: "0") : nil
    }

    /// RFC 2034 4: the status code, then a space or the end.
    private static func enhancedStatus(in text: [UInt8], of code: UInt16) -> EnhancedStatus? {
        let word = text.prefix(10).prefix { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\n") }
        guard word.count >= 5, word.dropFirst().first == UInt8(ascii: "."),
            let status = EnhancedStatus(String(decoding: word, as: UTF8.self)),
            UInt16(status.class.rawValue) == code / 100
        else { return nil }
        return status
    }
}
