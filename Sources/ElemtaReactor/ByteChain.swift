import CLibevent

/// Octets in segments, owned: libevent's `evbuffer` (`evbuffer_new`, freed by `evbuffer_free`).
///
/// An empty chain costs nothing: the buffer is made with the first octet. May go to another thread,
/// since it shares nothing: segments that came from a connection's input belong to it alone.
@safe public struct ByteChain: ~Copyable, @unchecked Sendable {
    // Safe because only this owner has the buffer, and shared borrows only read it.
    private var buffer: OpaquePointer?

    public init() {
        unsafe buffer = nil
    }

    deinit {
        if let buffer = unsafe buffer { unsafe evbuffer_free(buffer) }
    }

    /// How many octets there are.
    public var count: Int {
        guard let buffer = unsafe buffer else { return 0 }
        return unsafe evbuffer_get_length(buffer)
    }

    public var isEmpty: Bool { count == 0 }

    /// Copies `octets` to the end.
    public mutating func append(_ octets: Span<UInt8>) {
        guard !octets.isEmpty else { return }
        let isAppended = unsafe Segments.append(octets, to: made())
        precondition(isAppended, "evbuffer_add: out of memory")
    }

    /// Copies `octets` to the end.
    public mutating func append(_ octets: [UInt8]) {
        append(octets.span)
    }

    /// Takes the segments of `other` to the end, without copying.
    public mutating func append(_ other: consuming ByteChain) {
        guard let taken = unsafe other.buffer else { return }
        unsafe evbuffer_add_buffer(made(), taken)
    }

    /// Lends every segment in turn, without copying.
    public borrowing func forEachSegment<E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Void
    ) throws(E) {
        guard let buffer = unsafe buffer else { return }
        try unsafe Segments.forEach(of: buffer, body)
    }

    /// Drops the first `count` octets, all of them when there are fewer.
    public mutating func drain(_ count: Int) {
        guard let buffer = unsafe buffer else { return }
        unsafe evbuffer_drain(buffer, count)
    }

    /// Takes `count` octets from the front of `source`: ``Segments/move(_:from:to:)``.
    @unsafe mutating func take(_ count: Int, from source: OpaquePointer) {
        unsafe Segments.move(count, from: source, to: made())
    }

    /// Gives all segments to the end of `target`.
    @unsafe consuming func give(to target: OpaquePointer) -> Bool {
        guard let buffer = unsafe buffer else { return true }
        return unsafe evbuffer_add_buffer(target, buffer) == 0
    }

    /// Gives the first `count` octets to the end of `target`: ``Segments/move(_:from:to:)``.
    @unsafe mutating func give(_ count: Int, to target: OpaquePointer) {
        guard let buffer = unsafe buffer else { return }
        unsafe Segments.move(count, from: buffer, to: target)
    }

    @unsafe private mutating func made() -> OpaquePointer {
        if let buffer = unsafe buffer { return unsafe buffer }
        // Out of memory ends the process here as in every Swift allocation.
        guard let new = unsafe evbuffer_new() else {
            preconditionFailure("evbuffer_new: out of memory")
        }
        unsafe buffer = new
        return unsafe new
    }
}
