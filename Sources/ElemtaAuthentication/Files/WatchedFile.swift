import ElemtaThreads

/// What happened to a file while it was in use.
public enum WatchedFileEvent: Sendable {
    /// It changed and was read: from now on it holds `count` entries.
    case reloaded(count: Int, warnings: [FileProblem])
    /// It changed and is wrong: what was known before stays in use.
    case refused(FileErrors)
}

/// What a file holds that is read again when it changes.
protocol WatchedContent: Sendable {
    var count: Int { get }
    /// What is allowed and still looks like a mistake.
    var warnings: [FileProblem] { get }

    /// With the stamp that the file had before the first octet was read.
    static func readStamped(
        _ path: String
    ) throws(FileErrors) -> (content: Self, stamp: FileStamp)
}

/// A file that is read again when it changes. Any thread.
final class WatchedFile<Content: WatchedContent>: Sendable {
    let path: String
    private let report: @Sendable (WatchedFileEvent) -> Void
    private let state: Locked<State>

    private struct State {
        var content: Content
        /// Nil when the file was gone at the last look.
        var stamp: FileStamp?
        /// One thread reads; the others go on with what is known.
        var isBeingRead = false
    }

    /// Reads the file; throws everything that is wrong with it. `report` is called on the thread
    /// that noticed the change; it must not call back.
    init(
        _ path: String, report: @escaping @Sendable (WatchedFileEvent) -> Void
    ) throws(FileErrors) {
        self.path = path
        self.report = report
        let (content, stamp) = try Content.readStamped(path)
        state = Locked(State(content: content, stamp: stamp))
    }

    /// As it is known now.
    var content: Content { state.withLock { $0.content } }

    /// Reads the file again when it isn't what it was at the last look (device, inode, size,
    /// times). Any thread; blocks while it reads. Says whether it has read it.
    @discardableResult
    func reloadIfChanged() -> Bool {
        let stamp = FileStamp(of: path)
        return read(seen: stamp) { $0.stamp != stamp }
    }

    /// Reads the file again, changed or not: somebody asks whether it is right. Any thread; blocks
    /// while it reads.
    func reload() {
        _ = read(seen: FileStamp(of: path)) { _ in true }
    }

    private func read(seen stamp: FileStamp?, when isWanted: (State) -> Bool) -> Bool {
        let isMine = state.withLock { state in
            guard isWanted(state), !state.isBeingRead else { return false }
            state.isBeingRead = true
            return true
        }
        if isMine { read(seen: stamp) }
        return isMine
    }

    private func read(seen stamp: FileStamp?) {
        let event: WatchedFileEvent
        do throws(FileErrors) {
            let (content, stamp) = try Content.readStamped(path)
            state.withLock { $0 = State(content: content, stamp: stamp) }
            event = .reloaded(count: content.count, warnings: content.warnings)
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
