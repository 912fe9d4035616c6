/// What is done with the body of each entity of a message.
struct ConversionPlan: Sendable {
    enum Step: UInt8, Sendable {
        /// It stays as it is.
        case keep
        /// It stays, but is called 7bit: nothing in it is more, any more.
        case relabel
        case quotedPrintable
        case base64
        /// It is quoted-printable already, in name; what isn't is encoded too.
        case mendQuotedPrintable
        /// It is base 64 already, in name; what isn't is left out, as decoders do (RFC 2045 6.8).
        case mendBase64
    }

    fileprivate(set) var steps: [Step] = []

    subscript(entity: Int) -> Step { entity < steps.count ? steps[entity] : .keep }
}

/// First pass over a message for a next hop without 8BITMIME: decides how each part of it is encoded,
/// if it can be.
///
/// A part's new Content-Transfer-Encoding comes before its body, so the whole message has to be seen
/// first. What is kept of it is one octet per entity.
public struct ConversionSurvey: Sendable {
    /// Entities that a message may have.
    static let maximumEntities = 10_000

    private struct Statistics {
        var octets = 0
        /// Octets that quoted-printable writes in three.
        var escaped = 0
        var hasEightBit = false
        var hasBareEnd = false
        var hasNUL = false
        var lineLength = 0
        var hasLongLine = false
        var endsWithCR = false
    }

    private var lines = LineAssembler()
    private var walker = MIMEWalker()
    private var plan = ConversionPlan()
    /// The entity whose body is being read.
    private var entity: MIMEEntity?
    private var statistics = Statistics()
    private var isPossible = true

    public init() {}

    /// Takes the next octets of the message.
    public mutating func take(_ segment: Span<UInt8>) {
        var position = 0
        while isPossible, let ending = lines.next(in: segment, at: &position) { look(ending) }
    }

    /// The message is over: what to do with it. Nil: nothing helps, because there is something that
    /// can't be encoded in a header section, in a part that may not be encoded or whose encoding
    /// nobody knows, or because it isn't well formed.
    public consuming func finish() -> ContentConverter? {
        if let ending = lines.finish() { look(ending) }
        endBody()
        return isPossible ? ContentConverter(plan) : nil
    }

    private mutating func look(_ ending: LineAssembler.Ending) {
        let piece = lines.piece
        let isLast = if case .open = ending { false } else { true }
        switch walker.take(piece, isFirst: lines.isFirst, isLast: isLast) {
        case .header:
            if piece.contains(where: \.isEightBit) { isPossible = false }
        case .headerEnd(let entity):
            endBody()
            self.entity = entity
        case .body: count(piece, ending)
        case .boundary:
            endBody()
            if walker.entityCount > Self.maximumEntities { isPossible = false }
        case .margin: break
        }
    }

    private mutating func count(_ piece: [UInt8], _ ending: LineAssembler.Ending) {
        for octet in piece {
            if octet.isEightBit { statistics.hasEightBit = true }
            if octet == .carriageReturn || octet == .lineFeed { statistics.hasBareEnd = true }
            if octet == 0 { statistics.hasNUL = true }
            if !octet.isPrintable && octet != .tab || octet == .equals { statistics.escaped += 1 }
        }
        statistics.octets += piece.count
        statistics.lineLength += piece.count
        // RFC 2045 2.7: what 7bit lines have at most.
        if statistics.lineLength > 998 { statistics.hasLongLine = true }
        if case .open = ending { return }
        statistics.octets += 2
        statistics.lineLength = 0
    }

    /// The body of `entity` has come to its end.
    private mutating func endBody() {
        guard let entity else { return }
        if let step = step(for: entity) {
            while plan.steps.count < entity.index { plan.steps.append(.keep) }
            plan.steps.append(step)
        } else {
            isPossible = false
        }
        self.entity = nil
        statistics = Statistics()
    }

    private func step(for entity: MIMEEntity) -> ConversionPlan.Step? {
        let seen = statistics
        let asIs: ConversionPlan.Step =
            switch entity.encoding {
            case .eightBit, .binary: .relabel
            case .sevenBit, .quotedPrintable, .base64, .unknown: .keep
            }
        let isMultiple =
            switch entity.body {
            case .multipart, .message: true
            case .leaf, .closed: false
            }
        if isMultiple { return asIs }
        let isBinary =
            seen.hasNUL || seen.hasBareEnd || entity.encoding == .binary && seen.hasLongLine
        guard seen.hasEightBit || isBinary else { return asIs }
        guard entity.body == .leaf else { return nil }
        switch entity.encoding {
        case .sevenBit, .eightBit, .binary:
            // Whichever is shorter; text that is nearly ASCII stays readable.
            if entity.isMalformed { return nil }
            return seen.escaped * 6 > seen.octets ? .base64 : .quotedPrintable
        case .quotedPrintable: return .mendQuotedPrintable
        case .base64: return .mendBase64
        case .unknown: return nil
        }
    }
}
