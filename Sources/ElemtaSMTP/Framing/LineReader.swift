/// Finds command lines in the unread input, whatever its cut, and skips those that are too long.
///
/// It remembers how far it has looked: a line that comes an octet at a time is scanned once, not
/// once per octet.
struct LineReader {
    /// The longest command line with its CRLF, RFC 5321 4.5.3.1.4, octets.
    static let maximumLength = 512
    /// The same for MAIL and RCPT, whose extensions each add some (RFC 1870 3, RFC 3461 5, RFC 6531 3.4).
    static let maximumMailLength = 2048

    /// A line of an AUTH exchange with its CRLF, the command itself among them, RFC 4954 4, octets.
    static let maximumAuthenticationLength = 12_288

    /// What the next line is.
    enum Kind {
        case command
        /// A command, which may be AUTH with an initial response.
        case commandWithAuthentication
        /// The client's answer to a challenge.
        case response
    }

    enum Line {
        case incomplete
        /// A line of `length` octets including its end, which is `endLength` octets long: 2, or 1
        /// for a bare LF.
        case complete(length: Int, endLength: Int)
        /// The line is over its limit: take `consuming` octets away. The rest comes as `skipped`.
        case tooLong(consuming: Int)
        /// Octets of a line that is over its limit; `end` is set when they are the last of it.
        case skipped(Int, end: End?)
    }

    enum End {
        case crlf
        case bareLineFeed
    }

    private enum State {
        case seeking(scanned: UInt16)
        case skipping(afterCarriageReturn: Bool)
    }

    private var state = State.seeking(scanned: 0)

    mutating func next(in input: Span<UInt8>, as kind: Kind = .command) -> Line {
        switch state {
        case .seeking(let scanned): seek(in: input, as: kind, from: Int(scanned))
        case .skipping(let afterCarriageReturn): skip(in: input, afterCarriageReturn)
        }
    }

    private mutating func seek(in input: Span<UInt8>, as kind: Kind, from scanned: Int) -> Line {
        // Nothing new, or a shorter prefix of the input than last time.
        guard input.count > scanned else { return .incomplete }
        let limit = Self.limit(of: input, as: kind)
        let end = min(input.count, limit)
        var position = scanned
        while position < end, input[position] != .lineFeed { position += 1 }
        if position < end {
            state = .seeking(scanned: 0)
            let hasReturn = position > 0 && input[position - 1] == .carriageReturn
            return .complete(length: position + 1, endLength: hasReturn ? 2 : 1)
        }
        guard position == limit else {
            state = .seeking(scanned: UInt16(position))
            return .incomplete
        }
        state = .skipping(afterCarriageReturn: input[limit - 1] == .carriageReturn)
        return .tooLong(consuming: limit)
    }

    private mutating func skip(in input: Span<UInt8>, _ afterCarriageReturn: Bool) -> Line {
        guard input.count > 0 else { return .incomplete }
        var position = 0
        while position < input.count, input[position] != .lineFeed { position += 1 }
        guard position < input.count else {
            let last = input[position - 1]
            state = .skipping(afterCarriageReturn: last == .carriageReturn)
            return .skipped(position, end: nil)
        }
        let hasReturn =
            position > 0 ? input[position - 1] == .carriageReturn : afterCarriageReturn
        state = .seeking(scanned: 0)
        return .skipped(position + 1, end: hasReturn ? .crlf : .bareLineFeed)
    }

    private static func limit(of input: Span<UInt8>, as kind: Kind) -> Int {
        if case .response = kind { return maximumAuthenticationLength }
        guard input.count > 4, input[4] == .space else { return maximumLength }
        if input.hasKeyword("MAIL") || input.hasKeyword("RCPT") { return maximumMailLength }
        if case .commandWithAuthentication = kind, input.hasKeyword("AUTH") {
            return maximumAuthenticationLength
        }
        return maximumLength
    }
}
