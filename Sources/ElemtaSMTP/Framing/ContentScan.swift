/// Watches content go by: its lines, its octets above 127 and NULs, and the `Received:` fields of
/// its header section. Used by DATA, which finds the lines itself, and by BDAT, whose octets are
/// counted and may be anything.
struct ContentScan {
    /// More `Received:` fields mean that the message runs in a circle (RFC 5321 6.3).
    static let maximumReceivedFields: UInt32 = 100

    /// Where in the header section the scan is.
    private enum Header {
        /// At the beginning of a line, of which `matched` octets are those of `Received:`.
        case matching(matched: UInt8)
        /// Behind it in a line that is no (further) trace field.
        case withinLine
        /// The empty line has come.
        case over
    }

    private(set) var summary = ContentSummary()
    private var lineLength: UInt64 = 0
    private var header = Header.matching(matched: 0)
    /// Only `chunk` needs it: DATA has states of its own.
    private var endsWithCarriageReturn = false

    var isLooping: Bool { summary.receivedFieldCount > Self.maximumReceivedFields }

    /// Octets that are neither CR, LF nor NUL, from `start` on: returns where they end, at `end` at
    /// the latest.
    @inline(__always)
    mutating func text(_ input: Span<UInt8>, from start: Int, to end: Int) -> Int {
        if case .matching(let matched) = header {
            matchField(input, start, end, matched)
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
        case .matching, .withinLine: header = lineLength == 0 ? .over : .matching(matched: 0)
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
        if case .matching = header { header = .withinLine }
    }

    /// Compares with `Received:` in any case, across cuts.
    private mutating func matchField(
        _ input: Span<UInt8>, _ start: Int, _ end: Int, _ matched: UInt8
    ) {
        var matched = Int(matched)
        var position = start
        while position < end {
            guard input[position].lowercased == Self.fieldName[matched] else {
                header = .withinLine
                return
            }
            matched += 1
            position += 1
            if matched == Self.fieldName.count {
                summary.receivedFieldCount &+= 1
                header = .withinLine
                return
            }
        }
        header = .matching(matched: UInt8(matched))
    }

    private static let fieldName = Array("received:".utf8)
}
