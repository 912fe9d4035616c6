/// Watches content go by: its lines, its octets above 127 and NULs, and the `Received:`,
/// `TLS-Required:`, `Date:` and `Message-ID:` fields of its header section. Used by DATA, which finds the lines itself, and by BDAT, whose octets are
/// counted and may be anything.
struct ContentScan {
    /// More `Received:` fields mean that the message runs in a circle (RFC 5321 6.3).
    static let maximumReceivedFields: UInt32 = 100

    /// Where in the header section the scan is.
    private enum Header {
        /// At the beginning of a line.
        case lineStart
        /// In a line of which `matched` octets are those of the field name.
        case matching(FieldName, matched: UInt8)
        /// Behind `TLS-Required:`; `matched` octets of `No` have come, blanks aside.
        case tlsRequired(matched: UInt8)
        /// At the beginning of a line, with nothing but blanks behind `TLS-Required:` so far.
        case tlsRequiredFolded
        /// In a line that is none of these, or behind what matters in it.
        case withinLine
        /// The empty line has come.
        case over
    }

    private enum FieldName {
        /// The names of interest begin with different letters: one is enough to choose.
        case received, tlsRequired, date, messageID

        init?(first octet: UInt8) {
            switch octet {
            case UInt8(ascii: "r"): self = .received
            case UInt8(ascii: "t"): self = .tlsRequired
            case UInt8(ascii: "d"): self = .date
            case UInt8(ascii: "m"): self = .messageID
            default: return nil
            }
        }

        /// Added when it is missing.
        var isSubmitted: Bool {
            switch self {
            case .received, .tlsRequired: false
            case .date, .messageID: true
            }
        }

        var octets: [UInt8] {
            switch self {
            case .received: ContentScan.received
            case .tlsRequired: ContentScan.tlsRequired
            case .date: ContentScan.date
            case .messageID: ContentScan.messageID
            }
        }
    }

    private(set) var summary = ContentSummary()
    private var lineLength: UInt64 = 0
    private var header = Header.lineStart
    /// Only `chunk` needs it: DATA has states of its own.
    private var endsWithCarriageReturn = false

    /// The whole header section has been seen.
    var isHeaderOver: Bool {
        switch header {
        case .over: true
        case .lineStart, .matching, .tlsRequired, .tlsRequiredFolded, .withinLine: false
        }
    }

    var isLooping: Bool { summary.receivedFieldCount > Self.maximumReceivedFields }

    /// Octets that are neither CR, LF nor NUL, from `start` on: returns where they end, at `end` at
    /// the latest.
    @inline(__always)
    mutating func text(_ input: Span<UInt8>, from start: Int, to end: Int) -> Int {
        switch header {
        case .withinLine, .over: break
        case .lineStart, .matching, .tlsRequired, .tlsRequiredFolded: matchField(input, start, end)
        }
        var seen: UInt8 = 0
        let position = input.plainRun(from: start, to: end, &seen)
        if seen.isEightBit { eightBit() }
        lineLength &+= UInt64(position - start)
        return position
    }

    private mutating func eightBit() {
        summary.traits.insert(.eightBit)
        switch header {
        case .over: break
        case .lineStart, .matching, .tlsRequired, .tlsRequiredFolded, .withinLine:
            summary.traits.insert(.eightBitHeader)
        }
    }

    mutating func nul() {
        summary.traits.insert(.nul)
        lineLength &+= 1
        leaveFieldName()
    }

    /// The line is over. An empty one ends the header section.
    @inline(__always)
    mutating func lineEnd() {
        if lineLength > summary.longestLine { summary.longestLine = lineLength }
        switch header {
        case .over: break
        case .lineStart, .matching, .withinLine: header = lineLength == 0 ? .over : .lineStart
        case .tlsRequiredFolded: header = lineLength == 0 ? .over : .tlsRequiredFolded
        case .tlsRequired(0): header = .tlsRequiredFolded
        case .tlsRequired(let matched):
            if matched == 2 { summary.traits.insert(.tlsNotRequired) }
            header = .lineStart
        }
        lineLength = 0
    }

    /// `count` octets were kept.
    @inline(__always)
    mutating func keep(_ count: Int) { summary.octetCount &+= UInt64(count) }

    /// Counted octets of a chunk, which may be anything and may be cut anywhere.
    mutating func chunk(_ input: Span<UInt8>, count: Int) {
        var position = 0
        while position < count {
            let octet = input[position]
            if endsWithCarriageReturn {
                endsWithCarriageReturn = false
                if octet == .lineFeed {
                    lineEnd()
                    position += 1
                    continue
                }
                bareCarriageReturn()
            }
            switch octet {
            case .carriageReturn:
                endsWithCarriageReturn = true
                position += 1
            case .lineFeed:
                summary.traits.insert(.bareLineFeed)
                lineEnd()
                position += 1
            case 0:
                nul()
                position += 1
            default:
                position = text(input, from: position, to: count)
            }
        }
        keep(count)
    }

    /// Nothing more will come: what was seen in all.
    mutating func finish() -> ContentSummary {
        if endsWithCarriageReturn {
            endsWithCarriageReturn = false
            bareCarriageReturn()
        }
        if lineLength > 0 {
            summary.traits.insert(.unfinishedLine)
            if lineLength > summary.longestLine { summary.longestLine = lineLength }
        }
        return summary
    }

    private mutating func bareCarriageReturn() {
        summary.traits.insert(.bareCarriageReturn)
        lineLength &+= 1
        leaveFieldName()
    }

    private mutating func leaveFieldName() {
        switch header {
        case .lineStart, .matching, .tlsRequired, .tlsRequiredFolded: header = .withinLine
        case .withinLine, .over: break
        }
    }

    /// Reads on in a line of the header section, across cuts, in any case. `end` may lie behind the
    /// line.
    private mutating func matchField(_ input: Span<UInt8>, _ start: Int, _ end: Int) {
        var position = start
        while position < end {
            let octet = input[position]
            if octet == .carriageReturn || octet == .lineFeed || octet == 0 { return }
            header = header(after: octet.lowercased)
            if case .withinLine = header { return }
            position += 1
        }
    }

    private mutating func header(after octet: UInt8) -> Header {
        switch header {
        case .tlsRequiredFolded where octet == .space || octet == .tab:
            return .tlsRequired(matched: 0)
        case .lineStart, .tlsRequiredFolded:
            return FieldName(first: octet).map { .matching($0, matched: 1) } ?? .withinLine
        case .matching(let name, let matched) where octet == name.octets[Int(matched)]:
            if Int(matched) + 1 < name.octets.count {
                return .matching(name, matched: matched + 1)
            }
            return behind(name)
        case .matching(let name, let matched)
        where name.isSubmitted && Int(matched) + 1 == name.octets.count
            && (octet == .space || octet == .tab):
            // RFC 5322 4.5: old programs put blanks before the colon, and a second field would be
            // one too many.
            return header
        case .tlsRequired(let matched) where octet == .space || octet == .tab:
            // Blanks stand around the word, not in it.
            return matched == 1 ? .withinLine : header
        case .tlsRequired(0) where octet == UInt8(ascii: "n"): return .tlsRequired(matched: 1)
        case .tlsRequired(1) where octet == UInt8(ascii: "o"): return .tlsRequired(matched: 2)
        case .over: return .over
        case .matching, .tlsRequired, .withinLine:
            return .withinLine
        }
    }

    /// The name and its colon have come.
    private mutating func behind(_ name: FieldName) -> Header {
        switch name {
        case .tlsRequired: return .tlsRequired(matched: 0)
        case .received: summary.receivedFieldCount &+= 1
        case .date: summary.fields.insert(.date)
        case .messageID: summary.fields.insert(.messageID)
        }
        return .withinLine
    }

    private static let received = Array("received:".utf8)
    private static let tlsRequired = Array("tls-required:".utf8)
    private static let date = Array("date:".utf8)
    private static let messageID = Array("message-id:".utf8)
}
