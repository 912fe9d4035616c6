/// The back end `file`: users and their hashes in one file, read again when it changes.
public final class UsersFile: AuthenticationBackend {
    private let file: WatchedFile<Users>

    /// Reads the file; throws everything that is wrong with it. `report` is called on the thread
    /// that noticed a change; it must not call back.
    public init(
        _ path: String, report: @escaping @Sendable (WatchedFileEvent) -> Void
    ) throws(FileErrors) {
        file = try WatchedFile(path, report: report)
    }

    public var path: String { file.path }

    /// The users as they are known now.
    public var users: Users { file.content }

    /// Looks at the file first: one stat(2) when it hasn't changed.
    public func verify(_ credentials: Credentials) -> AuthenticationResult {
        reloadIfChanged()
        return users.verify(credentials)
    }

    /// Reads the file again when it isn't what it was at the last look (device, inode, size,
    /// times). Any thread; blocks while it reads.
    public func reloadIfChanged() { file.reloadIfChanged() }

    /// Reads the file again, changed or not: somebody asks whether it is right. Any thread; blocks
    /// while it reads.
    public func reload() { file.reload() }
}
