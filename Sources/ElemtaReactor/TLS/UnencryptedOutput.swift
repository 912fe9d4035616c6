import CLibevent
import Glibc

/// What was written under TLS and isn't encrypted yet: octets and files in their order.
///
/// It is encrypted a piece at a time as the peer takes it. Given to libevent's filter at once it all
/// would be encrypted at once: as much memory again, and the loop standing still meanwhile.
final class UnencryptedOutput {
    /// Before the first file.
    private var octets = ByteChain()
    private var files: [PendingFile] = []
    private(set) var count = 0

    /// A file with what was written behind it.
    private final class PendingFile {
        let file: OwnedDescriptor
        var offset: Int
        var rest: Int
        var next = ByteChain()

        init(_ file: consuming OwnedDescriptor, offset: Int, count: Int) {
            self.file = file
            self.offset = offset
            rest = count
        }

        func takeNext() -> ByteChain {
            var taken = ByteChain()
            swap(&taken, &next)
            return taken
        }
    }

    var isEmpty: Bool { count == 0 }

    func append(_ span: Span<UInt8>) {
        count += span.count
        if let last = files.last { last.next.append(span) } else { octets.append(span) }
    }

    func append(_ chain: consuming ByteChain) {
        count += chain.count
        if let last = files.last { last.next.append(chain) } else { octets.append(chain) }
    }

    func append(_ file: consuming OwnedDescriptor, offset: Int, count: Int) {
        self.count += count
        files.append(PendingFile(file, offset: offset, count: count))
    }

    /// Gives up to `limit` octets to the end of `buffer`. Throws what pread(2) does, and `EIO` where
    /// a file has become shorter than it was.
    @unsafe func give(
        atMost limit: Int, to buffer: OpaquePointer
    ) throws(ReactorError) {
        if !octets.isEmpty {
            let given = min(limit, octets.count)
            count -= given
            guard given < octets.count else {
                var all = ByteChain()
                swap(&all, &octets)
                guard unsafe all.give(to: buffer) else {
                    throw ReactorError("evbuffer_add_buffer", code: ENOMEM)
                }
                return
            }
            unsafe octets.give(given, to: buffer)
            return
        }
        guard let first = files.first else { return }
        let wanted = min(limit, first.rest)
        let read = unsafe Segments.read(
            first.file.number, offset: first.offset, count: wanted, to: buffer)
        guard read > 0 else { throw ReactorError("pread", code: read == 0 ? EIO : errno) }
        first.offset += read
        first.rest -= read
        count -= read
        if first.rest == 0 {
            octets = first.takeNext()
            files.removeFirst()
        }
    }
}
