/// Second pass over a message for a next hop without 8BITMIME: encodes what the survey has chosen, and
/// copies the rest.
///
/// Feed it the same octets as the survey. Every part decodes to what it was; signatures over the
/// message as it was (DKIM, multipart/signed) don't hold afterwards, as RFC 6152 3 has it.
public struct ContentConverter: Sendable {
    private let plan: ConversionPlan
    private var lines = LineAssembler()
    private var walker = MIMEWalker()
    private var scan = ContentScan()
    private var output: [UInt8] = []
    private var body = BodyEncoder.none
    /// The field whose lines come is left out.
    private var isLeftOut = false

    init(_ plan: ConversionPlan) { self.plan = plan }

    /// Takes the next octets and appends to `result` what is ready: less than three times as much,
    /// with what had been held back, one line at most.
    public mutating func take(_ segment: Span<UInt8>, into result: inout [UInt8]) {
        var position = 0
        while let ending = lines.next(in: segment, at: &position) { convert(ending) }
        handOver(to: &result)
    }

    /// The message is over: appends the rest, and says what the whole is like now.
    public mutating func finish(into result: inout [UInt8]) -> ContentSummary {
        if let ending = lines.finish() { convert(ending) }
        body.end(into: &output, isContentOver: true)
        handOver(to: &result)
        return scan.finish()
    }

    private mutating func handOver(to result: inout [UInt8]) {
        let ready = exchange(&output, with: [])
        scan.chunk(ready.span, count: ready.count)
        result += ready
    }

    private mutating func convert(_ ending: LineAssembler.Ending) {
        let piece = lines.piece
        let isLast = if case .open = ending { false } else { true }
        let isWhole = if case .crlf = ending { true } else { false }
        let isFirst = lines.isFirst
        switch walker.take(piece, isFirst: isFirst, isLast: isLast) {
        case .header(let field):
            if isFirst, piece[0] != .space, piece[0] != .tab {
                isLeftOut = leavesOut(field)
            }
            if !isLeftOut { copy(piece, isWhole) }
        case .headerEnd(let entity):
            isLeftOut = false
            begin(entity)
            copy(piece, isWhole)
        case .body: body.take(piece, ending, into: &output)
        case .boundary:
            body.end(into: &output, isContentOver: false)
            body = .none
            isLeftOut = false
            copy(piece, isWhole)
        case .margin:
            output += piece.lazy.map { $0.isEightBit ? UInt8(ascii: "?") : $0 }
            if isWhole { output += "\r\n".utf8 }
        }
    }

    private mutating func copy(_ piece: [UInt8], _ isWhole: Bool) {
        output += piece
        if isWhole { output += "\r\n".utf8 }
    }

    /// What the body is called so far.
    private func leavesOut(_ field: MIMEWalker.Field) -> Bool {
        guard case .encoding = field else { return false }
        switch plan[walker.entityIndex] {
        case .relabel, .quotedPrintable, .base64: return true
        case .keep, .mendQuotedPrintable, .mendBase64: return false
        }
    }

    /// Before the empty line that ends the header section.
    private mutating func begin(_ entity: MIMEEntity) {
        let step = plan[entity.index]
        body = BodyEncoder(step)
        let name: String
        switch step {
        case .keep, .mendQuotedPrintable, .mendBase64: return
        case .relabel: name = "7bit"
        case .quotedPrintable: name = "quoted-printable"
        case .base64: name = "base64"
        }
        // RFC 2045 4. What came without a word about MIME gets the charset of RFC 1428 3.
        if entity.isMessage, !entity.hasVersion { output += "MIME-Version: 1.0\r\n".utf8 }
        if entity.isMessage, !entity.hasType {
            output += "Content-Type: text/plain; charset=unknown-8bit\r\n".utf8
        }
        output += "Content-Transfer-Encoding: \(name)\r\n".utf8
    }
}
