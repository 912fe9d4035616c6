extension Grammar {
    /// `("HELO" SP Domain)`, `("EHLO" SP ( Domain / address-literal ))`, RFC 5321 4.1.1.1, read for
    /// both verbs alike. Underscores pass, as machines named with them do greet. ASCII only: a
    /// client says SMTPUTF8 after it, not before (RFC 6531 3.7.1).
    static func greetingName(_ text: Span<UInt8>, _ start: Int) -> Bool {
        if let (end, _) = addressLiteral(text, start) { return end == text.count }
        guard text.count > start, text.count - start <= maximumDomainLength else { return false }
        var labelStart = start
        for position in start...text.count {
            guard let octet = text.octet(at: position), octet != .dot else {
                guard position > labelStart, text[labelStart] != .hyphen,
                    text[position - 1] != .hyphen
                else { return false }
                labelStart = position + 1
                continue
            }
            guard octet.isLetDig || octet == .hyphen || octet == .underscore else { return false }
        }
        return true
    }

    /// `"MAIL FROM:" Reverse-path [SP Mail-parameters]`, RFC 5321 4.1.1.2. `start` is behind the
    /// verb. Without `isExtended` (HELO) no parameter is known.
    static func mail(
        _ text: Span<UInt8>, _ start: Int, isExtended: Bool, _ offered: OfferedParameters = []
    ) -> Parsed<(ReversePath, MailParameters)> {
        guard let pathStart = keywordArgument("FROM:", text, start) else {
            return .refused(.mailSyntax)
        }
        guard let (path, end) = reversePath(text, pathStart), isWordEnd(text, end) else {
            return .refused(.badSenderAddress)
        }
        switch mailParameters(text, end, isExtended: isExtended, offered) {
        case .refused(let reply): return .refused(reply)
        case .value(let parameters):
            if path.mailbox?.isInternationalized == true, !parameters.smtputf8 {
                return .refused(.needsSMTPUTF8)
            }
            return .value((path, parameters))
        }
    }

    /// `"RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path )
    /// [SP Rcpt-parameters]`, RFC 5321 4.1.1.3. `start` is behind the verb.
    static func rcpt(
        _ text: Span<UInt8>, _ start: Int, isExtended: Bool, smtputf8: Bool
    ) -> Parsed<AcceptedRecipient> {
        guard let pathStart = keywordArgument("TO:", text, start) else {
            return .refused(.rcptSyntax)
        }
        guard let (path, end) = forwardPath(text, pathStart), isWordEnd(text, end) else {
            return .refused(.badRecipientAddress)
        }
        if path.mailbox?.isInternationalized == true, !smtputf8 {
            return .refused(.needsSMTPUTF8)
        }
        return rcptParameters(text, end, path: path, isExtended: isExtended, smtputf8: smtputf8)
    }

    /// `"BDAT" SP chunk-size [SP "LAST"]`, RFC 3030 2.
    enum ChunkCommand: Equatable {
        case chunk(size: UInt64, isLast: Bool)
        /// The size is known, what follows it is not.
        case malformed(size: UInt64)
        /// No number, or one above 2^63: where the next command begins nobody can say.
        case unknownSize
    }

    static func bdat(_ text: Span<UInt8>, _ start: Int) -> ChunkCommand {
        guard text.octet(at: start) == .space, let (size, end) = number(text, start + 1),
            size <= 1 << 63, isWordEnd(text, end)
        else { return .unknownSize }
        if end == text.count { return .chunk(size: size, isLast: false) }
        guard text.hasKeyword("LAST", at: end + 1), end + 5 == text.count
        else { return .malformed(size: size) }
        return .chunk(size: size, isLast: true)
    }

    /// `1*DIGIT` that fits 64 bits.
    static func number(_ text: Span<UInt8>, _ start: Int) -> (value: UInt64, end: Int)? {
        var value: UInt64 = 0
        var position = start
        while let octet = text.octet(at: position), octet.isDigit {
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(UInt64(octet - UInt8(ascii: "0")))
            guard !overflow, !carry else { return nil }
            value = sum
            position += 1
        }
        return position > start ? (value, position) : nil
    }

    /// `SP keyword [SP]`: the position behind it. The space behind the colon is a leniency: clients
    /// that write it are many.
    private static func keywordArgument(
        _ keyword: String, _ text: Span<UInt8>, _ start: Int
    ) -> Int? {
        guard text.octet(at: start) == .space, text.hasKeyword(keyword, at: start + 1)
        else { return nil }
        let end = start + 1 + keyword.utf8.count
        return text.octet(at: end) == .space ? end + 1 : end
    }

    static func isWordEnd(_ text: Span<UInt8>, _ position: Int) -> Bool {
        position == text.count || text[position] == .space
    }

    /// `Reverse-path = Path / "<>"`, RFC 5321 4.1.2.
    private static func reversePath(
        _ text: Span<UInt8>, _ start: Int
    ) -> (path: ReversePath, end: Int)? {
        if text.octet(at: start) == .openAngle, text.octet(at: start + 1) == .closeAngle {
            return (.null, start + 2)
        }
        return path(text, start).map { (.mailbox($0.mailbox), $0.end) }
    }

    /// `Forward-path = Path`, or `<Postmaster>` in any case (RFC 5321 2.3.5, 4.5.1).
    private static func forwardPath(
        _ text: Span<UInt8>, _ start: Int
    ) -> (path: ForwardPath, end: Int)? {
        if text.hasKeyword("<POSTMASTER>", at: start) { return (.postmaster, start + 12) }
        return path(text, start).map { (.mailbox($0.mailbox), $0.end) }
    }

    /// `Path = "<" [ A-d-l ":" ] Mailbox ">"`, RFC 5321 4.1.2. The source route is read and ignored.
    private static func path(
        _ text: Span<UInt8>, _ start: Int
    ) -> (mailbox: Mailbox, end: Int)? {
        guard text.octet(at: start) == .openAngle else { return nil }
        let mailboxStart = sourceRoute(text, start + 1) ?? start + 1
        guard let (end, localPartEnd) = mailbox(text, mailboxStart),
            text.octet(at: end) == .closeAngle
        else { return nil }
        return (Mailbox(text, mailboxStart..<end, localPartEnd: localPartEnd), end + 1)
    }
}
