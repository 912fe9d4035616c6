/// Puts lines together from octets that were cut anywhere, and hands out long ones in pieces. Only
/// CRLF ends a line.
struct LineAssembler: Sendable {
    /// How a piece ends.
    enum Ending {
        case crlf
        /// The line goes on.
        case open
        /// The content is over, without a CRLF.
        case content
    }

    private enum State {
        case gathering
        case handedOut(Ending)
    }

    /// A line of at most so many octets comes in one piece. Boundaries have at most 70 (RFC 2046
    /// 5.1.1), lines should have at most 998.
    static let maximumPiece = 4_096

    /// The octets of the piece that was handed out last, without CRLF.
    private(set) var piece: [UInt8] = []
    /// Whether `piece` begins its line.
    private(set) var isFirst = true
    private var state = State.gathering

    /// Gathers from `position` on; nil: the segment is used up.
    mutating func next(in segment: Span<UInt8>, at position: inout Int) -> Ending? {
        begin()
        while position < segment.count {
            let octet = segment[position]
            if octet == .lineFeed, piece.last == .carriageReturn {
                position += 1
                piece.removeLast()
                return handOut(.crlf)
            }
            // A CR at the end of it is a bare one: no LF follows.
            if piece.count >= Self.maximumPiece { return handOut(.open) }
            piece.append(octet)
            position += 1
        }
        return nil
    }

    /// What is left when the content is over; nil: nothing.
    mutating func finish() -> Ending? {
        begin()
        return piece.isEmpty ? nil : handOut(.content)
    }

    private mutating func begin() {
        guard case .handedOut(let ending) = state else { return }
        switch ending {
        case .crlf: isFirst = true
        case .open, .content: isFirst = false
        }
        piece.removeAll(keepingCapacity: true)
        state = .gathering
    }

    private mutating func handOut(_ ending: Ending) -> Ending {
        state = .handedOut(ending)
        return ending
    }
}
