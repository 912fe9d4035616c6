/// Writes the body of one entity as its step wants it, line by line.
enum BodyEncoder: Sendable {
    /// As it is.
    case none
    case quotedPrintable(QuotedPrintableEncoder)
    case base64(Base64Encoder)
    case base64Alphabet

    init(_ step: ConversionPlan.Step) {
        switch step {
        case .keep, .relabel: self = .none
        case .quotedPrintable: self = .quotedPrintable(QuotedPrintableEncoder(isMending: false))
        case .mendQuotedPrintable: self = .quotedPrintable(QuotedPrintableEncoder(isMending: true))
        case .base64: self = .base64(Base64Encoder())
        case .mendBase64: self = .base64Alphabet
        }
    }

    mutating func take(
        _ piece: [UInt8], _ ending: LineAssembler.Ending, into output: inout [UInt8]
    ) {
        let isWhole = if case .crlf = ending { true } else { false }
        switch self {
        case .none:
            output += piece
            if isWhole { output += "\r\n".utf8 }
        case .quotedPrintable(var encoder):
            self = .none
            encoder.take(piece, ending, into: &output)
            self = .quotedPrintable(encoder)
        case .base64(var encoder):
            self = .none
            encoder.take(piece, isWhole: isWhole, into: &output)
            self = .base64(encoder)
        case .base64Alphabet:
            output += piece.lazy.filter { $0.isPrintable || $0 == .tab }
            if isWhole { output += "\r\n".utf8 }
        }
    }

    /// The body is over, before a boundary (whose CRLF before it isn't the body's, RFC 2046 5.1.1)
    /// or at the end of the content.
    mutating func end(into output: inout [UInt8], isContentOver: Bool) {
        switch self {
        case .none, .quotedPrintable, .base64Alphabet: break
        case .base64(var encoder):
            self = .none
            encoder.end(into: &output, isContentOver: isContentOver)
        }
    }
}

/// RFC 2045 6.7.
struct QuotedPrintableEncoder: Sendable {
    /// Octets of a line, without its end (rule 5).
    private static let maximumLine = 76
    private static let digits = Array("0123456789ABCDEF".utf8)

    /// The text is quoted-printable already; only what can't be part of it is encoded, and lines
    /// stay as long as they are.
    let isMending: Bool
    /// Octets of the output's line so far.
    private var column = 0
    /// A blank that may turn out to end its line, where it has to be encoded (rule 3).
    private var blank: UInt8?

    init(isMending: Bool) { self.isMending = isMending }

    mutating func take(
        _ piece: [UInt8], _ ending: LineAssembler.Ending, into output: inout [UInt8]
    ) {
        for octet in piece {
            if let blank { put(blank, isEncoded: false, into: &output) }
            blank = nil
            if octet == .space || octet == .tab {
                blank = octet
            } else {
                let isEncoded = !octet.isPrintable || (octet == .equals && !isMending)
                put(octet, isEncoded: isEncoded, into: &output)
            }
        }
        switch ending {
        case .open: return
        case .crlf: endLine(into: &output)
        case .content:
            // A line that isn't ended stays so: the CRLF that a server adds is taken back.
            endBlank(into: &output)
            if !isMending { output += "=\r\n".utf8 }
        }
    }

    private mutating func endLine(into output: inout [UInt8]) {
        endBlank(into: &output)
        output += "\r\n".utf8
        column = 0
    }

    private mutating func endBlank(into output: inout [UInt8]) {
        // In text that is quoted-printable already such blanks mean nothing.
        if let blank { put(blank, isEncoded: !isMending, into: &output) }
        blank = nil
    }

    private mutating func put(_ octet: UInt8, isEncoded: Bool, into output: inout [UInt8]) {
        let count = isEncoded ? 3 : 1
        // One place is kept for the "=" of a soft break.
        if !isMending, column + count > Self.maximumLine - 1 {
            output += "=\r\n".utf8
            column = 0
        }
        column += count
        guard isEncoded else { return output.append(octet) }
        output.append(.equals)
        output.append(Self.digits[Int(octet >> 4)])
        output.append(Self.digits[Int(octet & 0xF)])
    }
}

/// RFC 2045 6.8.
struct Base64Encoder: Sendable {
    /// Octets that make a line of 76 characters.
    private static let lineCount = 57

    /// Fewer than a line's worth.
    private var waiting: [UInt8] = []
    /// The end of the line before, which is the body's only if the body goes on.
    private var isEndWaiting = false

    mutating func take(_ piece: [UInt8], isWhole: Bool, into output: inout [UInt8]) {
        if isEndWaiting { waiting += "\r\n".utf8 }
        waiting += piece
        isEndWaiting = isWhole
        var position = 0
        while waiting.count - position >= Self.lineCount {
            let end = position + Self.lineCount
            Self.put(waiting[position..<end], into: &output)
            position = end
        }
        waiting.removeFirst(position)
    }

    mutating func end(into output: inout [UInt8], isContentOver: Bool) {
        if isEndWaiting, isContentOver { waiting += "\r\n".utf8 }
        isEndWaiting = false
        while !waiting.isEmpty {
            Self.put(waiting.prefix(Self.lineCount), into: &output)
            waiting.removeFirst(min(waiting.count, Self.lineCount))
        }
    }

    private static func put(_ octets: ArraySlice<UInt8>, into output: inout [UInt8]) {
        output += Base64.encode(Array(octets))
        output += "\r\n".utf8
    }
}
