/// One BDAT command (RFC 3030 2).
struct Chunk {
    /// Octets announced.
    let size: UInt64
    /// Octets that have not come yet.
    var remaining: UInt64
    let isLast: Bool

    init(size: UInt64, isLast: Bool) {
        self.size = size
        remaining = size
        self.isLast = isLast
    }

    /// How many octets at the front of `input` belong to the chunk; they count as read.
    mutating func take(from input: Span<UInt8>) -> Int {
        let count = Int(min(UInt64(input.count), remaining))
        remaining -= UInt64(count)
        return count
    }
}

/// The content that the chunks of a transaction make together.
struct ChunkedContent {
    private var scan = ContentScan()
    /// Set when the content is refused while the octets of a chunk still come.
    private(set) var refusal: Reply?

    var octetCount: UInt64 { scan.summary.octetCount }

    /// Looks at `count` octets of a chunk. False: they are not wanted, nor is what came before.
    mutating func append(_ input: Span<UInt8>, count: Int) -> Bool {
        if refusal != nil { return false }
        scan.chunk(input, count: count)
        if scan.isLooping { refusal = .tooManyHops }
        return refusal == nil
    }

    mutating func refuse(with reply: Reply) {
        if refusal == nil { refusal = reply }
    }

    mutating func finish() -> ContentSummary { scan.finish() }

    /// The fields of the header section, once all of it has been seen.
    var headerFields: HeaderFields? { scan.isHeaderOver ? scan.summary.fields : nil }
}
