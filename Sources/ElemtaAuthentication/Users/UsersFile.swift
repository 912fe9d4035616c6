import ElemtaThreads

/// What happened to a users file while it was in use.
public enum UsersFileEvent: Sendable {
    /// It changed and was read: from now on it holds `count` users.
    case reloaded(count: Int, warnings: [UsersFileProblem])
    /// It changed and is wrong: the users that were known before stay in use.
    case refused(UsersFileErrors)
}

/// The back end `file`: users and their hashes in one file, read again when it changes.
public final class UsersFile: AuthenticationBackend {
    public let path: String
    private let report: @Sendable (UsersFileEvent) -> Void
    private let state: Locked<State>

    private struct State {
        var users: Users
        /// Nil when the file was gone at the last look.
        var stamp: FileStamp?
        /// One thread reads; the others go on with what is known.
        var isBeingRead = false
    }

    /// Reads the file; throws everything that is wrong with it. `report` is called on the thread
    /// that noticed the change; it must not call back.
    public init(
        _ path: String, report: @escaping @Sendable (UsersFileEvent) -> Void
    ) throws(UsersFileErrors) {
        self.path = path
        self.report = report
        let (users, stamp) = try Users.readStamped(path)
        state = Locked(State(users: users, stamp: stamp))
    }

    /// The users as they are known now.
    public var users: Users { state.withLock { $0.users } }

    /// Looks at the file first: one stat(2) when it hasn't changed.
    public func verify(_ credentials: Credentials) -> AuthenticationResult {
        reloadIfChanged()
        return users.verify(credentials)
    }

    /// Reads the file again when it isn't what it was at the last look (device, inode, size,
    /// times). Any thread; blocks while it reads.
    public func reloadIfChanged() {
        let stamp = FileStamp(of: path)
        read(seen: stamp) { $0.stamp != stamp }
    }

    /// Reads the file again, changed or not: somebody asks whether it is right. Any thread; blocks
    /// while it reads.
    public func reload() {
        read(seen: FileStamp(of: path)) { _ in true }
    }

    private func read(seen stamp: FileStamp?, when isWanted: (State) -> Bool) {
        let isMine = state.withLock { state in
            guard isWanted(state), !state.isBeingRead else { return false }
            state.isBeingRead = true
            return true
        }
        if isMine { read(seen: stamp) }
    }

    private func read(seen stamp: FileStamp?) {
        let event: UsersFileEvent
        do throws(UsersFileErrors) {
            let (users, stamp) = try Users.readStamped(path)
            state.withLock { $0 = State(users: users, stamp: stamp) }
            event = .reloaded(count: users.count, warnings: users.warnings)
        } catch {
            // With the stamp from before reading: what changed meanwhile is looked at again, and
            // the same mistake isn't reported twice.
            state.withLock { state in
                state.stamp = stamp
                state.isBeingRead = false
            }
            event = .refused(error)
        }
        report(event)
    }
}
