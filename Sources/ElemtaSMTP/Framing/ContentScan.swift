/// Watches content go by: its lines, its octets above 127 and NULs, and the `Received:` and
/// `TLS-Required:` fields of its header section. Used by DATA, which finds the lines itself, and by BDAT, whose octets are
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
        /// In a line that is neither of the two, or behind what matters in it.
        case withinLine
        /// The empty line has come.
        case over
    }

    private enum FieldName {
        /// The only two names of interest begin with different letters: one is enough to choose.
        case received, tlsRequired

        var octets: [UInt8] {
            switch self {
            case .received: ContentScan.received
            case .tlsRequired: ContentScan.tlsRequired
            }
        }
    }

    private(set) var summary = ContentSummary()
    private var lineLength: UInt64 = 0
    private var header = Header.lineStart
    /// Only `chunk` needs it: DATA has states of its own.
    private var endsWithCarriageReturn = false

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
        if seen.isEightBit { summary.traits.insert(.eightBit) }
        lineLength &+= UInt64(position - start)
        return position
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
        case .lineStart where octet == UInt8(ascii: "r"),
            .tlsRequiredFolded where octet == UInt8(ascii: "r"):
            return .matching(.received, matched: 1)
        case .lineStart where octet == UInt8(ascii: "t"),
            .tlsRequiredFolded where octet == UInt8(ascii: "t"):
            return .matching(.tlsRequired, matched: 1)
        case .matching(let name, let matched) where octet == name.octets[Int(matched)]:
            if Int(matched) + 1 < name.octets.count {
                return .matching(name, matched: matched + 1)
            }
            if case .tlsRequired = name { return .tlsRequired(matched: 0) }
            summary.receivedFieldCount &+= 1
            return .withinLine
        case .tlsRequired(let matched) where octet == .space || octet == .tab:
            // Blanks stand around the word, not in it.
            return matched == 1 ? .withinLine : header
        case .tlsRequired(0) where octet == UInt8(ascii: "n"): return .tlsRequired(matched: 1)
        case .tlsRequired(1) where octet == UInt8(ascii: "o"): return .tlsRequired(matched: 2)
        case .over: return .over
        case .lineStart, .matching, .tlsRequired, .tlsRequiredFolded, .withinLine:
            return .withinLine
        }
    }

    private static let received = Array("received:".utf8)
    private static let tlsRequired = Array("tls-required:".utf8)
}
