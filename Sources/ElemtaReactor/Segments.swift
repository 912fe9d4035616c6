import CLibevent
import Glibc

/// What is done with the segments of an `evbuffer` that somebody else owns. libevent calls them
/// chains; each is one allocation, a power of two from 1 KiB up, with 48 octets of bookkeeping.
enum Segments {
    /// The longest segment that an input is given, without its bookkeeping.
    static let payload = 16 * 1024 - 48

    /// A piece shorter than this is copied, a longer one moved with its segment: what a segment of
    /// 8 KiB holds.
    ///
    /// Moving takes the unused rest of the segment along. Without this a client that sends an octet
    /// at a time would make each of them cost a whole segment; so what is moved fills at least half
    /// of the longest segment there is.
    static let shortestMoved = 8 * 1024 - 48

    /// Lends the first segment, without copying; empty when the buffer is.
    @unsafe static func withFirst<R: ~Copyable, E: Error>(
        of buffer: OpaquePointer, _ body: (Span<UInt8>) throws(E) -> R
    ) throws(E) -> R {
        var piece = unsafe iovec()
        // Safe because one vector is offered; the octets stay in place while `body` borrows them.
        guard unsafe evbuffer_peek(buffer, 1, nil, &piece, 1) > 0 else {
            return try body(Span())
        }
        return try unsafe body(octets(of: piece).span)
    }

    /// Lends every segment in turn.
    @unsafe static func forEach<E: Error>(
        of buffer: OpaquePointer, _ body: (Span<UInt8>) throws(E) -> Void
    ) throws(E) {
        var rest = unsafe evbuffer_get_length(buffer)
        var position = unsafe evbuffer_ptr()
        guard unsafe evbuffer_ptr_set(buffer, &position, 0, EVBUFFER_PTR_SET) == 0 else { return }
        while rest > 0 {
            var piece = unsafe iovec()
            // Safe because `position` was set by libevent and the buffer isn't changed meanwhile.
            guard unsafe evbuffer_peek(buffer, 1, &position, &piece, 1) > 0 else { return }
            let count = unsafe piece.iov_len
            try unsafe body(octets(of: piece).span)
            rest -= count
            unsafe evbuffer_ptr_set(buffer, &position, count, EVBUFFER_PTR_ADD)
        }
    }

    /// Takes `count` octets from the front of `source` to the end of `target`, by the segment where
    /// that pays: see ``shortestMoved``.
    @unsafe static func move(_ count: Int, from source: OpaquePointer, to target: OpaquePointer) {
        var rest = unsafe min(count, evbuffer_get_length(source))
        while rest > 0 {
            var piece = unsafe iovec()
            // Safe because one vector is offered and `source` isn't changed before it is used.
            guard unsafe evbuffer_peek(source, 1, nil, &piece, 1) > 0 else { return }
            let length = unsafe min(rest, piece.iov_len)
            if unsafe length == piece.iov_len, length >= shortestMoved {
                unsafe evbuffer_remove_buffer(source, target, length)
            } else {
                unsafe evbuffer_add(target, piece.iov_base, length)
                unsafe evbuffer_drain(source, length)
            }
            rest -= length
        }
    }

    @unsafe static func append(_ octets: Span<UInt8>, to buffer: OpaquePointer) -> Bool {
        guard !octets.isEmpty else { return true }
        // Safe because evbuffer_add copies.
        return unsafe octets.withUnsafeBufferPointer {
            unsafe evbuffer_add(buffer, $0.baseAddress, $0.count) == 0
        }
    }

    /// Takes `file` over, also when this fails.
    @unsafe static func append(
        _ file: consuming OwnedDescriptor, offset: Int, count: Int, to buffer: OpaquePointer
    ) -> Bool {
        let flags = UInt32(EVBUF_FS_CLOSE_ON_FREE | EVBUF_FS_DISABLE_LOCKING)
        guard
            let segment = unsafe evbuffer_file_segment_new(
                file.number, Int64(offset), Int64(count), flags)
        else { return false }
        _ = file.release()
        // A failure to add frees the segment, and so closes the file.
        guard unsafe evbuffer_add_file_segment(buffer, segment, 0, Int64(count)) == 0 else {
            return false
        }
        // The buffer has a reference of its own.
        unsafe evbuffer_file_segment_free(segment)
        return true
    }

    /// Reads up to `count` octets of `file` at `offset` to the end of `buffer` (pread(2)); how many
    /// came, and -1 with `errno` when none could.
    @unsafe static func read(
        _ file: Int32, offset: Int, count: Int, to buffer: OpaquePointer
    ) -> Int {
        var space = unsafe iovec()
        // Safe because no more octets are committed than were read into the space that is lent.
        guard unsafe evbuffer_reserve_space(buffer, count, &space, 1) == 1 else {
            errno = ENOMEM
            return -1
        }
        let received = unsafe pread(file, space.iov_base, min(count, space.iov_len), offset)
        guard received > 0 else { return received }
        unsafe space.iov_len = received
        unsafe evbuffer_commit_space(buffer, &space, 1)
        return received
    }

    @unsafe private static func octets(of piece: iovec) -> UnsafeBufferPointer<UInt8> {
        let start = unsafe piece.iov_base?.assumingMemoryBound(to: UInt8.self)
        return unsafe UnsafeBufferPointer(start: start, count: piece.iov_len)
    }
}
