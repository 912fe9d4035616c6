import Glibc

/// Why the spool could not do what it was asked.
public enum SpoolError: Error, Hashable, Sendable {
    /// Another process has the queue; its pid where the lock file tells. Exit status 75.
    case held(by: Int32?)
    /// `queue_dir` lies on a file system whose locks and syncs can't be relied on.
    case networkFileSystem(String)
    /// There is no queue in this directory, or no directory. Exit status 66.
    case noQueue(String)
    /// This user may not look into the directory, which belongs to that one. Exit status 77.
    case notPermitted(String, owner: String?)
    /// `queue_dir` or something in it can't be made or used, or is somebody else's.
    case directory(String)
    /// No room on the disk or in the map: answer 452 4.3.1. What is queued is intact.
    case full
    /// Reading or writing failed: answer 452 4.3.1. What is queued is intact.
    case storage(String)
    /// The process, or the machine, has as many files open as it may: try again soon.
    case noDescriptors
    /// The message isn't in the queue, or no longer.
    case unknownMessage(MessageID)
    /// The message's record or content isn't what was written; it goes to quarantine.
    case damaged(MessageID, String)
    /// The spool as a whole is damaged. A server that opens it salvages it.
    case unreadable(String)
    /// The envelope is larger than a record may be.
    case envelopeTooLarge
    /// A message with this id is queued already.
    case duplicate(MessageID)
    /// The content wasn't as long as it said.
    case contentMismatch
    /// The spool has been stopped.
    case stopped

    /// `.notPermitted`, with whose the directory at `path` is.
    public static func noAccess(to path: String) -> SpoolError {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return .notPermitted(path, owner: nil) }
        return .notPermitted(path, owner: FileSystem.nameOfUser(status.st_uid))
    }

    init(_ error: LMDBError) {
        switch error.kind {
        case .full: self = .full
        case .transactionTooLarge, .exists, .invalidValue, .broken:
            self = .storage(error.description)
        case .damaged: self = .unreadable(error.description)
        }
    }
}

extension SpoolError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .held(let pid?): "the queue is held by process \(pid)"
        case .held(nil): "the queue is held by another process"
        case .networkFileSystem(let name):
            "the queue lies on \(name), which doesn't keep what it promises "
                + "(queue.allow_network_filesystem)"
        case .noQueue(let path): "there is no queue in \(path)"
        case .notPermitted(let path, let owner?):
            "no permission for the queue in \(path), which belongs to \(owner): be "
                + (owner == "root" ? "root for this" : "\(owner) or root for this")
        case .notPermitted(let path, nil):
            "no permission for the queue in \(path): be root for this"
        case .directory(let what): what
        case .full: "no room for the queue"
        case .storage(let what): what
        case .noDescriptors: "too many open files"
        case .unknownMessage(let id): "\(id) is not in the queue"
        case .damaged(let id, let what): "\(id) is corrupt: \(what)"
        case .unreadable(let what): "the spool is corrupt: \(what)"
        case .envelopeTooLarge: "the envelope is too large"
        case .duplicate(let id): "\(id) is queued already"
        case .contentMismatch: "the content isn't as long as it said"
        case .stopped: "the spool has been stopped"
        }
    }
}
