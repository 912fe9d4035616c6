import ElemtaSMTP
import Glibc

/// What libFuzzer calls with each input. The first octet chooses what is tested, the next four how
/// (`Choice`); the rest is what a stranger sends.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safe because libFuzzer lends `count` octets for the time of the call, and they are copied.
    let octets = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    guard octets.count > Choice.length else { return 0 }
    let choice = Choice(octets)
    let input = Array(octets[Choice.length...])
    switch octets[0] & 15 {
    case 0: replay(input, choice)
    case 1: replay(input, choice, behind: Fuzz.transaction)
    case 2: replay(input, choice, behind: choice.isTravelled ? Fuzz.travelled : Fuzz.data)
    case 3: compareWithNaiveDecoder(input, choice)
    case 4: swallowChunk(input, choice)
    case 5: readWords(input)
    case 6: replay(input, choice, behind: Fuzz.login)
    case 7: replay(input, choice, behind: choice.hasAuthentication ? Fuzz.longLine : [])
    case 8: inject(input, choice)
    case 9: readProxyHeader(input)
    case 10: interrupt(input, choice)
    case 11: interrupt(input, choice, behind: Fuzz.transaction)
    case 12: interrupt(input, choice, behind: Fuzz.data)
    case 13: interrupt(input, choice, behind: Fuzz.chunk)
    case 14: replay(input, choice, behind: Fuzz.loginInsideTLS)
    default: replay(input, choice, behind: Fuzz.chunk)
    }
    return 0
}

enum Fuzz {
    static let transaction = Array(
        "EHLO c.example\r\nMAIL FROM:<a@b.example> SMTPUTF8\r\nRCPT TO:<c@d.example>\r\n".utf8)
    static let data = transaction + Array("DATA\r\n".utf8)
    /// One hop short of a loop.
    static let travelled =
        data + Array(String(repeating: "Received:\r\n", count: 100).utf8)
    static let chunk = transaction + Array("BDAT 9\r\n".utf8)
    static let login = Array("EHLO c.example\r\nAUTH LOGIN YWxpY2U=\r\n".utf8)
    static let loginInsideTLS = Array(
        "EHLO c.example\r\nSTARTTLS\r\nEHLO c.example\r\nAUTH PLAIN AGJvYgBzZWNyZXQ=\r\n".utf8)
    /// Some octets short of the limit of RFC 4954 4.
    static let longLine =
        Array("EHLO c.example\r\nAUTH PLAIN ".utf8) + Array(repeating: 65, count: 12_250)
}

func check(_ condition: Bool, _ message: @autoclosure () -> String) {
    if condition { return }
    // An optimised precondition would keep its message to itself. Safe because `text` outlives the call.
    let text = Array((message() + "\n").utf8)
    _ = unsafe write(STDERR_FILENO, text, text.count)
    preconditionFailure()
}

/// The same octets get the same replies and the same content, however they are cut. How they are cut
/// is part of the input: one other way each time.
private func replay(_ input: [UInt8], _ choice: Choice, behind start: [UInt8] = []) {
    let whole = choice.transcript(start + input)
    switch choice.way {
    case .two:
        let cut = min(input.count, choice.cut)
        check(
            choice.transcript(start, [input[..<cut], input[cut...]]) == whole, "cut at \(cut)")
    case .segments:
        check(
            choice.transcript(start, [input[...]], segmentLength: choice.segmentLength) == whole,
            "segments of \(choice.segmentLength)")
    case .pieces:
        let length = choice.cut + 1
        let pieces = stride(from: 0, to: input.count, by: length)
            .map { input[$0..<min(input.count, $0 + length)] }
        check(
            choice.transcript(start, pieces, segmentLength: choice.segmentLength) == whole,
            "pieces of \(length), segments of \(choice.segmentLength)")
    case .octets:
        let pieces = input.indices.map { input[$0...$0] }
        check(choice.transcript(start, pieces) == whole, "octet by octet")
    }
    check(whole, choice)
}

/// Whatever happens between two octets, and however late an answer comes, no contract is broken and
/// nothing is said after the end.
private func interrupt(_ input: [UInt8], _ choice: Choice, behind start: [UInt8] = []) {
    var driver = choice.driver()
    let cut = min(input.count, choice.cut)
    driver.feed(start)
    driver.answerFromNowOnLate()
    driver.feed(input[..<cut])
    let wasWaiting = driver.expectation == .answer
    let isUndisturbed = disturb(&driver, choice)
    let isClosed = driver.transcript.isClosed
    let said = driver.transcript.replies.count
    driver.answerLate()
    driver.feed(input[cut...])
    check(driver.violations.isEmpty, "\(driver.violations)")
    check(!isClosed || driver.transcript.replies.count == said, "said after the end")
    check(!(isClosed && wasWaiting) || driver.transcript.isClosed, "opened by a late answer")
    if isUndisturbed {
        check(driver.transcript == choice.transcript(start + input), "answered late at \(cut)")
    }
    if !isClosed { check(driver.transcript, choice) }
}

/// Something happens to the session; false: nothing has.
private func disturb(_ driver: inout SessionDriver, _ choice: Choice) -> Bool {
    switch choice.disturbance {
    case 0: driver.timeOut()
    case 1: driver.outlast()
    case 2: driver.shutDown()
    case 3: driver.cutOff()
    case 4 where driver.expectation != .answer: driver.failContent(with: .insufficientStorage)
    default: return true
    }
    return false
}

/// Nothing that came in clear text behind STARTTLS is executed.
private func inject(_ input: [UInt8], _ choice: Choice) {
    guard case .startTLS = choice.parameters.offer.tls, !input.isEmpty else { return }
    var driver = choice.driver(segmentLength: choice.segmentLength, handshake: .checked)
    driver.feed(Array("EHLO c.example\r\nSTARTTLS\r\n".utf8) + input)
    let replies = String(decoding: driver.transcript.replies, as: UTF8.self)
    check(driver.violations.isEmpty, "\(driver.violations)")
    check(driver.transcript.isClosed, "still open")
    let refusal = "\r\n554 5.5.1 Nothing may follow STARTTLS before the handshake\r\n"
    check(replies.hasSuffix(refusal), "executed: \(replies)")
}

/// Nobody sends without the login or the TLS that the server asks for.
private func check(_ transcript: Transcript, _ choice: Choice) {
    for message in transcript.messages { check(message, choice) }
    check(transcript.delays.allSatisfy { (1...600).contains($0) }, "\(transcript.delays)")
    guard !transcript.messages.isEmpty else { return }
    let replies = transcript.replies
    let offer = choice.parameters.offer
    let isInsideTLS =
        if case .implicit = offer.tls { true } else { contains(replies, "220 2.0.0 Ready") }
    if offer.authenticationIsRequired, !choice.mayUseXCLIENT {
        check(contains(replies, "235 2.7.0"), "accepted without a login")
        check(isInsideTLS || !offer.authenticationNeedsTLS, "a login in clear text")
    }
    if transcript.messages.contains(where: \.transaction.parameters.requireTLS) {
        check(isInsideTLS && offer.offersRequireTLS, "REQUIRETLS in clear text")
    }
}

private func contains(_ octets: [UInt8], _ text: StaticString) -> Bool {
    unsafe text.withUTF8Buffer { text in
        octets.indices.contains { unsafe octets[$0...].starts(with: text) }
    }
}

/// What was accepted is no larger than allowed, and the summary is true.
private func check(_ message: AcceptedMessage, _ choice: Choice) {
    let content = message.content
    check(UInt64(content.count) <= choice.parameters.maximumMessageSize, "too large")
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
