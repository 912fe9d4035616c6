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

/// The content of a message that was found, as far as it was read.
public enum FoundContent: Sendable {
    case memory([UInt8])
    /// In LMDB, unread: `Spool.readContent`.
    case pieces
    /// In a file, unopened: `Spool.openContent`.
    case file
}

extension Spool {
    /// Content in LMDB of up to so many octets is handed out whole by `find`.
    public static var smallContent: UInt64 { 65_536 }

    /// Reads a message as ``read(_:)`` does, but leaves alone content that takes long: a content file,
    /// which has to be read to be verified and which `openContent` hands out, and more than
    /// ``smallContent`` in LMDB, which `readContent` hands out block by block. One short read.
    ///
    /// - Throws: as `read`.
    public func find(
        _ id: MessageID
    ) throws(SpoolError) -> (envelope: Envelope, content: FoundContent) {
        try onceThere { () throws(SpoolError) in
            try reportingDamage { () throws(SpoolError) in
                try store.find(id, copying: Self.smallContent)
            }
        }
    }

    /// The next octets of content that is in LMDB, `octets` of them in all, from `position` on: at
    /// least one and at most 64 KiB, verified; none behind its end. One short read, so that a slow
    /// next hop pins nothing between two of them.
    ///
    /// - Throws: as `read`: what has been sent of a message that turns out to be `.damaged`, or has
    ///   left the queue, must not be taken for the whole.
    public func readContent(
        of id: MessageID, octets: UInt64, from position: Int
    ) throws(SpoolError) -> [UInt8] {
        try reportingDamage { () throws(SpoolError) in
            try store.block(of: id, octets: octets, at: position)
        }
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
