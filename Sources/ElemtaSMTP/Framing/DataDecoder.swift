/// The content that follows DATA (RFC 5321 4.5.2): finds its end, takes the stuffed dots away and
/// refuses lines that end with anything but CRLF.
///
/// Only CRLF.CRLF is the end. A server that also ends at LF.LF, LF.CRLF or CR.CR reads the rest of
/// somebody's message as commands of the relay that sent it (CVE-2023-51764, CVE-2023-51765,
/// CVE-2023-51766).
struct DataDecoder {
    /// What to do with the octets at the front of the input. Every octet is consumed as soon as it is
    /// there; what was looked at is never looked at again.
    enum Step {
        case needMore
        case keep(Int)
        case drop(Int)
        /// A bare LF to be replaced by CRLF.
        case lineEnd(dropping: Int)
        /// The content is refused from here on; the decoder goes on to its end.
        case refused(consuming: Int)
        case end(consuming: Int)
    }

    /// Where the next octet stands.
    private enum State {
        /// Behind CRLF, or at the very beginning, which the CRLF of DATA precedes.
        case lineStart
        /// Behind a bare LF that was made right. A dot here is stuffed, but never the end.
        case lineStartAfterBareLineFeed
        case text
        case carriageReturn
        /// Behind the dot of CRLF.
        case dot
        /// Behind CRLF.CR
        case dotCarriageReturn
    }

    private enum Fate {
        case wanted
        case refused(Reply)
    }

    private var state = State.lineStart
    private var fate = Fate.wanted
    private var scan = ContentScan()

    /// Why the content is refused, if it is.
    var refusal: Reply? {
        switch fate {
        case .wanted: nil
        case .refused(let reply): reply
        }
    }

    /// Drops the rest and remembers `reply`, unless the content is already refused.
    mutating func refuse(with reply: Reply) {
        if case .wanted = fate { fate = .refused(reply) }
    }

    mutating func finish() -> ContentSummary { scan.finish() }

    /// The fields of the header section, once all of it has been seen.
    var headerFields: HeaderFields? { scan.isHeaderOver ? scan.summary.fields : nil }

    /// - Parameter maximumSize: octets of content that are kept at most.
    mutating func next(
        in input: Span<UInt8>, maximumSize: UInt64, bareNewline: BareNewline
    ) -> Step {
        guard input.count > 0 else { return .needMore }
        switch fate {
        case .wanted: return gather(input, maximumSize, bareNewline)
        case .refused: return discard(input)
        }
    }

    // MARK: Content that is wanted

    private mutating func gather(
        _ input: Span<UInt8>, _ maximumSize: UInt64, _ bareNewline: BareNewline
    ) -> Step {
        if let step = dots(input) { return step }
        let room = maximumSize - min(scan.summary.octetCount, maximumSize)
        let end = Int(min(UInt64(input.count), room))
        var position = 0
        while position < end {
            let octet = input[position]
            switch state {
            case .carriageReturn:
                guard octet == .lineFeed else { return refused(.bareNewlineInContent, position) }
                scan.lineEnd()
                state = .lineStart
                position += 1
            case .lineStart, .lineStartAfterBareLineFeed:
                if octet == .dot, position > 0 { return keep(position) }
                state = .text
                fallthrough
            case .text, .dot, .dotCarriageReturn:
                switch octet {
                case .carriageReturn:
                    // Nearly always LF is there too: one step for both.
                    let hasLineFeed = position + 1 < end && input[position + 1] == .lineFeed
                    if hasLineFeed { scan.lineEnd() }
                    state = hasLineFeed ? .lineStart : .carriageReturn
                    position += hasLineFeed ? 2 : 1
                case .lineFeed:
                    guard bareNewline == .normalize else {
                        return refused(.bareNewlineInContent, position)
                    }
                    return position > 0 ? keep(position) : lineFeedMadeRight(room: room)
                case 0:
                    scan.nul()
                    position += 1
                default:
                    position = scan.text(input, from: position, to: end)
                    if scan.isLooping { return refused(.tooManyHops, position) }
                }
            }
        }
        // The next octet would be one too many. Whatever it is, the message is too large.
        guard position > 0 else { return refused(.messageTooLarge, 0) }
        return keep(position)
    }

    /// Dots at the beginning of a line. Nil: there is none, or it is text.
    private mutating func dots(_ input: Span<UInt8>) -> Step? {
        switch state {
        case .lineStart where input[0] == .dot:
            if input.octet(at: 1) == .carriageReturn, input.octet(at: 2) == .lineFeed {
                return .end(consuming: 3)
            }
            state = .dot
            return .drop(1)
        case .lineStartAfterBareLineFeed where input[0] == .dot:
            state = .text
            return .drop(1)
        case .dot:
            // Not yet content: if LF follows it's the end, and if not the message is refused.
            if input[0] == .carriageReturn {
                state = .dotCarriageReturn
                return .drop(1)
            }
            state = .text
            return nil
        case .dotCarriageReturn:
            if input[0] == .lineFeed { return .end(consuming: 1) }
            return refused(.bareNewlineInContent, 0)
        case .lineStart, .lineStartAfterBareLineFeed, .text, .carriageReturn:
            return nil
        }
    }

    private mutating func lineFeedMadeRight(room: UInt64) -> Step {
        guard room >= 2 else { return refused(.messageTooLarge, 0) }
        scan.lineEnd()
        scan.keep(2)
        state = .lineStartAfterBareLineFeed
        return .lineEnd(dropping: 1)
    }

    private mutating func keep(_ count: Int) -> Step {
        scan.keep(count)
        return .keep(count)
    }

    /// The state stays: `discard` sees the offending octet again and goes on from there.
    private mutating func refused(_ reply: Reply, _ position: Int) -> Step {
        fate = .refused(reply)
        return .refused(consuming: position)
    }

    // MARK: Content that is refused

    /// Goes on to the real end. Without it the rest of a refused message would be read as commands.
    private mutating func discard(_ input: Span<UInt8>) -> Step {
        var seen: UInt8 = 0
        var position = 0
        while position < input.count {
            switch (state, input[position]) {
            case (.lineStart, .dot): state = .dot
            case (.dot, .carriageReturn): state = .dotCarriageReturn
            case (.dotCarriageReturn, .lineFeed): return .end(consuming: position + 1)
            case (.carriageReturn, .lineFeed): state = .lineStart
            case (_, .carriageReturn): state = .carriageReturn
            case (_, _):
                state = .text
                position = input.plainRun(from: position + 1, to: input.count, &seen)
                continue
            }
            position += 1
        }
        return .drop(input.count)
    }
}
