import CLibevent

/// What a connection has received and nobody has taken yet, lent for the length of one closure:
/// ``Connection/withInput(_:)``.
@safe public struct InputBuffer: ~Copyable {
    // Safe because it is lent for one closure, and libevent frees a buffer only when its loop
    // turns again. Nil: the connection is closed.
    private let buffer: OpaquePointer?

    @unsafe init(_ buffer: OpaquePointer?) {
        unsafe self.buffer = unsafe buffer
    }

    /// How many octets are there, in all segments.
    public var count: Int {
        guard let buffer = unsafe buffer else { return 0 }
        return unsafe evbuffer_get_length(buffer)
    }

    /// Lends the first segment: `evbuffer_peek`, no copy. The span is empty when the input is, and
    /// shorter than `count` where the octets lie in several segments.
    public func withFirstSegment<R: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> R
    ) throws(E) -> R {
        guard let buffer = unsafe buffer else { return try body(Span()) }
        return try unsafe Segments.withFirst(of: buffer, body)
    }

    /// Copies the first segment out and drops it; empty when the input is.
    public mutating func takeFirstSegment() -> [UInt8] {
        // Safe because the array copies what the buffer lends.
        let octets = withFirstSegment { span in
            unsafe span.withUnsafeBufferPointer { unsafe [UInt8]($0) }
        }
        drain(octets.count)
        return octets
    }

    /// Makes the first `count` octets (all, when there are fewer) one segment: `evbuffer_pullup`.
    /// Copies where they aren't yet.
    public mutating func makeContiguous(_ count: Int) {
        guard let buffer = unsafe buffer else { return }
        unsafe evbuffer_pullup(buffer, min(count, evbuffer_get_length(buffer)))
    }

    /// Drops the first `count` octets, all of them when there are fewer.
    public mutating func drain(_ count: Int) {
        guard let buffer = unsafe buffer else { return }
        unsafe evbuffer_drain(buffer, count)
    }

    /// Takes the first `count` octets (all, when there are fewer) to the end of `chain`. Long
    /// segments are moved, short pieces copied, so that `chain` never holds more than about twice
    /// the octets it was given, plus one segment of 16 KiB.
    public mutating func move(_ count: Int, to chain: inout ByteChain) {
        guard let buffer = unsafe buffer, count > 0 else { return }
        unsafe chain.take(count, from: buffer)
    }
}
