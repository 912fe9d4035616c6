import ElemtaSMTP
import Glibc

/// What libFuzzer calls with each input. The first octet chooses what is tested, the next three how;
/// the rest is what a stranger sends.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safe because libFuzzer lends `count` octets for the time of the call, and they are copied.
    let octets = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    guard octets.count > 4 else { return 0 }
    let choice = Choice(octets)
    let input = Array(octets[4...])
    switch octets[0] % 10 {
    case 0: replay(input, choice)
    case 1: replay(Fuzz.transaction + input, choice)
    case 2: replay(Fuzz.transaction + Array("DATA\r\n".utf8) + input, choice)
    case 3: compareWithNaiveDecoder(input, choice)
    case 4: swallowChunk(input, choice)
    case 5: readWords(input)
    case 6: replay(Fuzz.login + input, choice)
    case 7: replay(Fuzz.longLine + input, choice)
    case 8: inject(input, choice)
    default: readProxyHeader(input)
    }
    return 0
}

private enum Fuzz {
    static let transaction = Array(
        "EHLO c.example\r\nMAIL FROM:<a@b.example> SMTPUTF8\r\nRCPT TO:<c@d.example>\r\n".utf8)
    static let login = Array("EHLO c.example\r\nAUTH LOGIN YWxpY2U=\r\n".utf8)
    /// Some octets short of the limit of RFC 4954 4.
    static let longLine =
        Array("EHLO c.example\r\nAUTH PLAIN ".utf8) + Array(repeating: 65, count: 12_250)
}

/// How an input is tested.
private struct Choice {
    let bits: UInt8
    let length: Int
    let cut: Int
    /// Its bits say what the server offers.
    let offered: UInt8

    init(_ octets: [UInt8]) {
        bits = octets[1]
        length = Int(octets[2]) + 1
        cut = Int(octets[3])
        offered = octets[0] / 10
    }

    var mayUseXCLIENT: Bool { offered & 8 != 0 }

    var offer: ServerOffer {
        var offer = ServerOffer()
        offer.tls = offered & 1 == 0 ? .off : .startTLS
        offer.mechanisms = offered & 2 == 0 ? [] : [.plain, .login]
        offer.isDevelopment = offered & 4 != 0
        offer.authenticationNeedsTLS = offered & 8 != 0
        offer.authenticationIsRequired = offered & 16 != 0
        return offer
    }

    var bareNewline: BareNewline { bits & 1 == 0 ? .reject : .normalize }
    var maximumSize: UInt64 { bits & 2 == 0 ? 100_000 : 40 }

    func driver(
        segmentLength: Int = .max, handshake: Policy.Handshake = .instant
    ) -> SessionDriver {
        SessionDriver(
            parameters: ServerParameters(
                hostname: "mail.example.com", maximumMessageSize: maximumSize,
                maximumRecipients: bits & 16 == 0 ? 1000 : 2,
                maximumErrors: bits & 32 == 0 ? 1000 : 3, bareNewline: bareNewline,
                offer: offer),
            policy: Policy(
                content: bits & 4 == 0 ? nil : .insufficientStorage,
                commit: bits & 8 == 0 ? nil : .insufficientStorage, handshake: handshake),
            segmentLength: segmentLength, mayUseXCLIENT: mayUseXCLIENT)
    }

    func transcript(_ pieces: [ArraySlice<UInt8>], segmentLength: Int = .max) -> Transcript {
        var driver = driver(segmentLength: segmentLength)
        for piece in pieces { driver.feed(piece) }
        check(driver.violations.isEmpty, "\(driver.violations)")
        return driver.transcript
    }
}

private func check(_ condition: Bool, _ message: @autoclosure () -> String) {
    if condition { return }
    // An optimised precondition would keep its message to itself. Safe because `text` outlives the call.
    let text = Array((message() + "\n").utf8)
    _ = unsafe write(STDERR_FILENO, text, text.count)
    preconditionFailure()
}

/// The same octets get the same replies and the same content, however they are cut.
private func replay(_ input: [UInt8], _ choice: Choice) {
    let whole = choice.transcript([input[...]])
    let cut = min(input.count, choice.cut)
    check(choice.transcript([input[..<cut], input[cut...]]) == whole, "cut at \(cut)")
    check(
        choice.transcript([input[...]], segmentLength: choice.length) == whole,
        "segments of \(choice.length)")
    let pieces = stride(from: 0, to: input.count, by: choice.cut + 1)
        .map { input[$0..<min(input.count, $0 + choice.cut + 1)] }
    check(
        choice.transcript(pieces, segmentLength: choice.length) == whole,
        "pieces of \(choice.cut + 1), segments of \(choice.length)")
    if input.count < 700 {
        check(choice.transcript(input.indices.map { input[$0...$0] }) == whole, "octet by octet")
    }
    for message in whole.messages { check(message, choice) }
    check(whole.delays.allSatisfy { (1...600).contains($0) }, "delays of \(whole.delays)")
    let replies = String(decoding: whole.replies, as: UTF8.self)
    if !whole.messages.isEmpty, choice.offer.authenticationIsRequired, !choice.mayUseXCLIENT {
        check(replies.contains("235 2.7.0"), "accepted without a login")
    }
    if whole.messages.contains(where: \.transaction.parameters.requireTLS) {
        check(replies.contains("220 2.0.0"), "REQUIRETLS in clear text")
    }
}

/// Nothing that came in clear text behind STARTTLS is executed.
private func inject(_ input: [UInt8], _ choice: Choice) {
    guard case .startTLS = choice.offer.tls, !input.isEmpty else { return }
    var driver = choice.driver(segmentLength: choice.length, handshake: .checked)
    driver.feed(Array("EHLO c.example\r\nSTARTTLS\r\n".utf8) + input)
    let replies = String(decoding: driver.transcript.replies, as: UTF8.self)
    check(driver.violations.isEmpty, "\(driver.violations)")
    check(driver.transcript.isClosed, "still open")
    let refusal = "\r\n554 5.5.1 Nothing may follow STARTTLS before the handshake\r\n"
    check(replies.hasSuffix(refusal), "executed: \(replies)")
}

/// A header is the same however much follows it, and incomplete wherever it's cut.
private func readProxyHeader(_ input: [UInt8]) {
    let whole = ProxyHeader.parse(input.span)
    guard case .header(let header) = whole else { return }
    check(header.length <= min(input.count, ProxyHeader.maximumLength), "length")
    for count in 0..<header.length {
        check(ProxyHeader.parse(input.span.extracting(0..<count)) == .incomplete, "at \(count)")
    }
    check(ProxyHeader.parse(input.span.extracting(0..<header.length)) == whole, "alone")
}

/// What was accepted is no larger than allowed, and the summary is true.
private func check(_ message: AcceptedMessage, _ choice: Choice) {
    let content = message.content
    check(UInt64(content.count) <= choice.maximumSize, "too large")
    var bareLineFeed = false
    var bareReturn = false
    for (index, octet) in content.enumerated() {
        if octet == 10, index == 0 || content[index - 1] != 13 { bareLineFeed = true }
        if octet == 13, index + 1 == content.count || content[index + 1] != 10 { bareReturn = true }
    }
    let traits = message.summary.traits
    check(traits.contains(.bareLineFeed) == bareLineFeed, "bare LF")
    check(traits.contains(.bareCarriageReturn) == bareReturn, "bare CR")
    check(traits.contains(.eightBit) == content.contains { $0 > 127 }, "8 bit")
    check(traits.contains(.nul) == content.contains(0), "NUL")
}

/// The end of the data is the first CRLF.CRLF, and nothing else; what is accepted is what a decoder
/// of a few obvious lines makes of it.
private func compareWithNaiveDecoder(_ input: [UInt8], _ choice: Choice) {
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
        let shown = min(choice.length, input.count - position)
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
private func swallowChunk(_ content: [UInt8], _ choice: Choice) {
    let beginnings = [
        [], Array("HELO c.example\r\n".utf8), Fuzz.transaction,
        Fuzz.transaction + Array("BDAT 1\r\nx".utf8),
        Fuzz.transaction + Array("BDAT 1 LAST\r\nx".utf8),
        Fuzz.transaction + Array("BDAT 200000\r\n".utf8) + Array(repeating: 120, count: 200_000),
        Array("HELO c.example\r\nMAIL FROM:<a@b.example>\r\n".utf8),
        Fuzz.transaction + Array("BDAT 1 LATE\r\nx".utf8),
    ]
    let last = choice.bits & 64 == 0 ? " LAST" : ""
    let command = Array("BDAT \(content.count)\(last)\r\n".utf8)
    let beginning = beginnings[choice.cut % beginnings.count] + command
    let harmless = Array(repeating: UInt8(ascii: "y"), count: content.count)
    let ending = Array("NOOP\r\n".utf8)
    let transcript = choice.transcript([(beginning + content + ending)[...]])
    let expected = choice.transcript([(beginning + harmless + ending)[...]])
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
private func readWords(_ input: [UInt8]) {
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
