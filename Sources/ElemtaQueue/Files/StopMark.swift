import Glibc

/// `clean`: lies in `queue_dir` while nobody has the spool open, if who had it last has closed it in
/// good order.
///
/// It is gone, durably, before the first octet of the spool is written, and comes back after the
/// last: where it is missing a process was killed or the power lost, or the spool was brought here
/// from elsewhere. It holds the size of `spool.mdb`, so that it doesn't speak for another file.
struct StopMark {
    private let queue: String

    init(queue: String) { self.queue = queue }

    private var path: String { queue + "/clean" }

    /// Whether the mark is there and means this file.
    var isValid: Bool {
        guard let file = try? OpenFile(path, O_RDONLY), let octets = try? file.read(64, at: 0),
            let size = spoolSize
        else { return false }
        return octets == Self.text(size)
    }

    /// Octets of `spool.mdb`; nil when there is none.
    var spoolSize: Int? {
        guard let file = try? OpenFile(queue + "/spool.mdb", O_RDONLY) else { return nil }
        return try? file.size
    }

    /// Takes the mark away: the spool is about to be written.
    func remove() throws(FileError) {
        guard FileSystem.exists(path) else { return }
        try FileSystem.remove(path)
        try FileSystem.syncDirectory(queue)
    }

    /// Leaves the mark, once the spool is closed and everything in it is synced.
    func leave() throws(FileError) {
        guard let size = spoolSize else { return }
        let file = try OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(Self.text(size).span)
        try file.sync()
        try FileSystem.syncDirectory(queue)
    }

    private static func text(_ size: Int) -> [UInt8] { Array("spool.mdb \(size)\n".utf8) }
}
