import ElemtaSMTP

/// The message as a program writes it, made into lines that end with CRLF.
///
/// Bare LFs, and CRs before them, are line ends. Any other CR becomes a blank: no SMTP server takes it, and
/// a receiver that took it for a line end would see another message (CVE-2023-51764).
struct SendmailInput {
    enum Failure: Error, Equatable {
        case tooLarge
    }

    private enum State {
        case lineStart, text, carriageReturn
        /// At the beginning of a line, a lone dot so far; with the CR behind it.
        case dot, dotCarriageReturn
        /// The lone dot was it.
        case ended
    }

    private(set) var octets: [UInt8] = []
    private var state = State.lineStart
    private let endsAtDot: Bool
    private let maximumCount: Int

    /// `maximumCount`: octets of the whole message, line ends included.
    init(endsAtDot: Bool, maximumCount: Int) {
        self.endsAtDot = endsAtDot
        self.maximumCount = maximumCount
    }

    var hasEnded: Bool {
        switch state {
        case .ended: true
        case .lineStart, .text, .carriageReturn, .dot, .dotCarriageReturn: false
        }
    }

    mutating func append(_ input: some Sequence<UInt8>) throws(Failure) {
        for octet in input {
            if hasEnded { return }
            take(octet)
        }
        if octets.count > maximumCount { throw .tooLarge }
    }

    /// There is no more: an unfinished line is finished.
    mutating func finish() throws(Failure) {
        switch state {
        case .lineStart, .ended: break
        case .carriageReturn, .text: endLine()
        case .dot, .dotCarriageReturn:
            octets.append(UInt8(ascii: "."))
            endLine()
        }
        if octets.count > maximumCount { throw .tooLarge }
    }

    private mutating func take(_ octet: UInt8) {
        switch (state, octet) {
        case (.ended, _): break
        case (.dot, UInt8(ascii: "\n")), (.dotCarriageReturn, UInt8(ascii: "\n")): state = .ended
        case (.dot, UInt8(ascii: "\r")): state = .dotCarriageReturn
        case (.dot, _):
            octets.append(UInt8(ascii: "."))
            takeText(octet)
        case (.dotCarriageReturn, _):
            octets += [UInt8(ascii: "."), UInt8(ascii: " ")]
            takeText(octet)
        case (.carriageReturn, UInt8(ascii: "\n")): endLine()
        case (.carriageReturn, _):
            octets.append(UInt8(ascii: " "))
            takeText(octet)
        case (.lineStart, UInt8(ascii: ".")) where endsAtDot: state = .dot
        case (.lineStart, _), (.text, _): takeText(octet)
        }
    }

    private mutating func takeText(_ octet: UInt8) {
        switch octet {
        case UInt8(ascii: "\n"): endLine()
        case UInt8(ascii: "\r"): state = .carriageReturn
        default:
            octets.append(octet)
            state = .text
        }
    }

    private mutating func endLine() {
        octets += [UInt8(ascii: "\r"), UInt8(ascii: "\n")]
        state = .lineStart
    }
}
