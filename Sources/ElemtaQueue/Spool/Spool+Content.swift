import Glibc

/// The content of a message in a file that is open: all of it is there and was verified. Stays
/// readable when the message leaves the queue.
public struct OpenContent: ~Copyable, Sendable {
    private let descriptor: Int32
    /// Octets before the content.
    public let offset: UInt64
    /// Octets of content.
    public let octetCount: UInt64

    /// Takes the descriptor over.
    fileprivate init(descriptor: Int32, _ place: StoredContentFile) {
        self.descriptor = descriptor
        offset = place.offset
        octetCount = place.octetCount
    }

    /// Gives the descriptor away: the caller closes it.
    public consuming func release() -> Int32 {
        let descriptor = descriptor
        discard self
        return descriptor
    }

    deinit { close(descriptor) }
}

extension Spool {
    /// Reads a message as ``read(_:)`` does, but leaves alone a content file, which takes as long to
    /// verify as to read: its content is nil, and `openContent` hands it out. One short read.
    ///
    /// - Throws: as `read`.
    public func find(
        _ id: MessageID
    ) throws(SpoolError) -> (envelope: Envelope, octets: [UInt8]?) {
        try reportingDamage { () throws(SpoolError) in try store.find(id) }
    }

    /// Opens the content file of a message of so many octets and verifies all of it.
    ///
    /// - Throws: as `read`; `.noDescriptors`.
    public func openContent(
        of id: MessageID, octets: UInt64
    ) throws(SpoolError) -> OpenContent {
        try reportingDamage { () throws(SpoolError) in
            try store.withContentFile(of: id, octets: octets) {
                file, place throws(FileError) in
                let copy = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
                guard copy >= 0 else { throw FileError(operation: "dup \(file.path)", code: errno) }
                return OpenContent(descriptor: copy, place)
            }
        }
    }
}
