import Glibc

/// `reserve`: blocks set aside so that the results of deliveries can be committed on a full disk
/// (LMDB copies on write: even a removal needs pages first). Accepting mail never uses it.
struct ReserveFile {
    private let path: String
    let size: Int
    /// Whether the blocks are there.
    private(set) var isFilled = false

    static let maximumSize = 1 << 20

    /// The smaller of 1 MiB and 5 % of the file system.
    init(directory: String) {
        path = directory + "/reserve"
        let total = FileSystem.room(at: directory)?.total ?? 0
        size = Int(min(UInt64(Self.maximumSize), total / 20))
    }

    /// Sets the blocks aside; quietly stays without where there is no room for twice as much.
    mutating func fill() {
        guard !isFilled, let room = FileSystem.room(at: directory),
            room.free >= UInt64(2 * size) || FileSystem.exists(path)
        else { return }
        do throws(FileError) {
            let file = try OpenFile(path, O_RDWR | O_CREAT)
            try file.allocate(size)
            try file.sync()
            isFilled = true
        } catch {
            try? FileSystem.remove(path)
        }
    }

    /// Gives the blocks to whoever writes next. False when there was nothing to give.
    mutating func giveUp() -> Bool {
        guard isFilled else { return false }
        isFilled = false
        do throws(FileError) {
            let file = try OpenFile(path, O_RDWR)
            try file.truncate(to: 0)
            // Freed blocks can be used by others only once their release is in the journal.
            try file.sync()
            return true
        } catch {
            return false
        }
    }

    private var directory: String { String(path.dropLast("/reserve".count)) }
}
