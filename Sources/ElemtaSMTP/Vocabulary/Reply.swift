/// An SMTP reply (RFC 5321 4.2) in its wire form.
///
/// The class of the enhanced status (RFC 2034) comes from the code, so that a pair that contradicts
/// itself can't be written. Replies of the server session are statics in `Replies.swift`.
public struct Reply: Hashable, Sendable {
    public let code: UInt16
    public let enhancedStatus: EnhancedStatus?
    /// Every line with its code and CRLF, ready to be sent.
    public let octets: [UInt8]

    /// The longest reply line with its CRLF, RFC 5321 4.5.3.1.5, octets.
    public static let maximumLineLength = 512

    /// A reply of one line. Octets of `text` that aren't printable ASCII are sent as `?`, and what is
    /// beyond the longest line is left out: a reply never carries what a client could smuggle into it.
    public init(_ code: UInt16, _ subject: UInt16, _ detail: UInt16, _ text: String) {
        self.init(code, subject, detail, lines: [text])
    }

    /// A reply of several lines, each with the enhanced status in front of its text (RFC 2034 4).
    public init(_ code: UInt16, _ subject: UInt16, _ detail: UInt16, lines: [String]) {
        let status = EnhancedStatus.Class(rawValue: UInt8(truncatingIfNeeded: code / 100))
            .map { EnhancedStatus($0, subject, detail) }
        self.init(code: code, status: status, lines: lines)
    }

    /// A reply without an enhanced status, which RFC 2034 3 allows for the greeting, HELO, EHLO and
    /// the intermediate replies only.
    public init(plain code: UInt16, lines: [String]) {
        self.init(code: code, status: nil, lines: lines)
    }

    /// A reply whose wire form is at hand.
    init(code: UInt16, status: EnhancedStatus?, octets: [UInt8]) {
        self.code = code
        enhancedStatus = status
        self.octets = octets
    }

    private init(code: UInt16, status: EnhancedStatus?, lines: [String]) {
        self.code = code
        enhancedStatus = status
        let statusText = status.map { "\($0) " } ?? ""
        var octets: [UInt8] = []
        for (index, line) in lines.enumerated() {
            let separator = index == lines.count - 1 ? " " : "-"
            let start = octets.count
            octets.append(contentsOf: "\(code)\(separator)\(statusText)".utf8)
            let room = Self.maximumLineLength - 2 - (octets.count - start)
            for octet in line.utf8.prefix(room) {
                octets.append(octet.isPrintable ? octet : UInt8(ascii: "?"))
            }
            octets.append(.carriageReturn)
            octets.append(.lineFeed)
        }
        self.octets = octets
    }

    public var isPositive: Bool { code < 400 }
}

extension Reply: CustomStringConvertible {
    /// For logs: the lines without their last CRLF, those between as `\r\n`.
    public var description: String {
        var text = ""
        for octet in octets.dropLast(2) {
            switch octet {
            case .carriageReturn: text += "\\r"
            case .lineFeed: text += "\\n"
            default: text.unicodeScalars.append(Unicode.Scalar(octet))
            }
        }
        return text
    }
}
