import ElemtaSMTP

/// The end of the data is the first CRLF.CRLF, and nothing else; what is accepted is what a decoder
/// of a few obvious lines makes of it.
func compareWithNaiveDecoder(_ input: [UInt8], _ choice: Choice) {
    let terminator: [UInt8] = [13, 10, 46, 13, 10]
    let preceded = [13, 10] + input
    var expectedEnd: Int?
    for start in preceded.indices where preceded[start...].starts(with: terminator) {
        expectedEnd = start + terminator.count - 2
        break
    }

    var decoder = DataDecoder()
    var content: [UInt8] = []
    var position = 0
    var end: Int?
    var steps = 0
    while position < input.count, end == nil {
        let shown = min(choice.segmentLength, input.count - position)
        let step = decoder.next(
            in: input.span.extracting(position..<(position + shown)), maximumSize: .max,
            bareNewline: .reject)
        steps += 1
        check(steps <= 4 * input.count + 4, "no progress")
        switch step {
        case .needMore: preconditionFailure("octets were left")
        case .keep(let count):
            check(count > 0 && count <= shown, "keep")
            content += input[position..<(position + count)]
            position += count
        case .drop(let count):
            check(count > 0 && count <= shown, "drop")
            position += count
        case .lineEnd: preconditionFailure("normalised")
        case .refused(let count):
            check(count <= shown, "refused")
            position += count
        case .end(let count):
            check(count <= shown, "end")
            position += count
            end = position
        }
    }
    check(
        end == expectedEnd,
        "ended at \(String(describing: end)), not \(String(describing: expectedEnd))")
    guard let end, decoder.refusal == nil else { return }
    check(content == naiveContent(Array(input[..<(end - 3)])), "content")
}

/// Lines that end with CRLF, each without its first dot.
private func naiveContent(_ data: [UInt8]) -> [UInt8] {
    var content: [UInt8] = []
    var isLineStart = true
    for octet in data {
        if !(isLineStart && octet == 46) { content.append(octet) }
        isLineStart = octet == 10
    }
    return content
}

/// Octets that BDAT has announced are never commands, whatever became of the BDAT: the replies are
/// as many as for octets that can't be commands.
func swallowChunk(_ content: [UInt8], _ choice: Choice) {
    let beginnings = [
        [], Array("HELO c.example\r\n".utf8), Fuzz.transaction,
        Fuzz.transaction + Array("BDAT 1\r\nx".utf8),
        Fuzz.transaction + Array("BDAT 1 LAST\r\nx".utf8),
        Fuzz.transaction + Array("BDAT 6001\r\n".utf8) + Array(repeating: 120, count: 6001),
        Array("HELO c.example\r\nMAIL FROM:<a@b.example>\r\n".utf8),
        Fuzz.transaction + Array("BDAT 1 LATE\r\nx".utf8),
    ]
    let last = choice.bits & 128 == 0 ? " LAST" : ""
    let command = Array("BDAT \(content.count)\(last)\r\n".utf8)
    let beginning = beginnings[choice.cut % beginnings.count] + command
    let harmless = Array(repeating: UInt8(ascii: "y"), count: content.count)
    let ending = Array("NOOP\r\n".utf8)
    let transcript = choice.transcript(beginning + content + ending)
    let expected = choice.transcript(beginning + harmless + ending)
    let lines = transcript.replies.count { $0 == 10 }
    check(lines == expected.replies.count { $0 == 10 }, "a chunk was read as commands")
    check(transcript.isClosed == expected.isClosed, "a chunk has closed the session")
    if let message = transcript.messages.last,
        expected.messages.last?.content.suffix(content.count).elementsEqual(harmless) == true
    {
        check(message.content.suffix(content.count).elementsEqual(content), "chunk content")
    }
}

/// The words of the vocabulary are read without harm, and what was read reads the same again.
func readWords(_ input: [UInt8]) {
    let text = String(decoding: input, as: UTF8.self)
    if let mailbox = Mailbox(octets: input.span) {
        check(mailbox.octets == input, "mailbox")
        check(Domain(mailbox.domain.description) == mailbox.domain, "domain of a mailbox")
    }
    if let domain = Domain(octets: input.span) {
        check(Domain(domain.description) == domain, "domain")
        check(!domain.isSubdomain(of: domain), "below itself")
    }
    if let address = IPAddress(text) {
        check(IPAddress(address.description) == address, "address")
        check(Domain(address.addressLiteral)?.addressLiteral == address, "literal")
    }
    if let subnet = IPSubnet(text) {
        check(IPSubnet(subnet.description) == subnet, "subnet")
        check(subnet.contains(subnet.base), "base")
    }
    if let status = EnhancedStatus(text) {
        check(EnhancedStatus(status.description) == status, "status")
    }
    if let octets = Base64.decode(input.span) {
        check(octets.count == input.count / 4 * 3 - input.suffix(2).count { $0 == 61 }, "base 64")
    }
    _ = DevelopmentTrouble.parse(input)
    check(SessionDriver.isWellFormed(Reply(550, 1, 1, lines: [text, text])), "reply")
}

/// A header is the same however much follows it, and incomplete wherever it's cut.
func readProxyHeader(_ input: [UInt8]) {
    let whole = ProxyHeader.parse(input.span)
    guard case .header(let header) = whole else { return }
    check(header.length <= min(input.count, ProxyHeader.maximumLength), "length")
    for count in 0..<header.length {
        check(ProxyHeader.parse(input.span.extracting(0..<count)) == .incomplete, "at \(count)")
    }
    check(ProxyHeader.parse(input.span.extracting(0..<header.length)) == whole, "alone")
}
