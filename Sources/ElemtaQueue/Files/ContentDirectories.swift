import ElemtaThreads

/// The directories `content/xx`, each made when its first file comes; any thread.
///
/// A file survives a power loss only if its directory's name does. That a directory is there says
/// nothing: another thread may have made it and not synced `content/` yet. What has been synced
/// is remembered here, and nobody writes into a directory before that.
final class ContentDirectories: Sendable {
    private let queue: String
    private let sync: @Sendable (String) throws(FileError) -> Void
    /// The last two characters of ids.
    private let synced = Locked<Set<Substring>>([])

    init(
        queue: String,
        sync: @escaping @Sendable (String) throws(FileError) -> Void = { path throws(FileError) in
            try FileSystem.syncDirectory(path)
        }
    ) {
        self.queue = queue
        self.sync = sync
    }

    /// Syncs those that are there: who made them may have died before that.
    func syncAll() throws(FileError) {
        try synced.withLock { synced throws(FileError) in
            let names = try FileSystem.names(in: queue + "/content")
            try sync(queue + "/content")
            synced.formUnion(names.map { $0[...] })
        }
    }

    /// Returns once the directory for `id` is there and would be after a power loss.
    func prepare(for id: MessageID) throws(FileError) {
        try synced.withLock { synced throws(FileError) in
            let directory = ContentFileLayout.directory(queue, id)
            let name = directory.suffix(2)
            guard !synced.contains(name) else { return }
            try FileSystem.makeDirectory(directory)
            do throws(FileError) {
                try sync(queue + "/content")
            } catch {
                // Its name may be lost without a later sync knowing: the next one makes it anew.
                try FileSystem.removeDirectory(directory)
                throw error
            }
            synced.insert(name)
        }
    }
}
