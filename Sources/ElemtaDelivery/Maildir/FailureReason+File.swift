import ElemtaQueue
import ElemtaSMTP
import Glibc

extension FailureReason {
    /// What keeps a message from a maildir; always for now (RFC 3463 3.3, 3.4): a full or missing
    /// disk is no fault of the message's, and somebody will see to it.
    init(_ error: FileError) {
        let (subject, detail): (UInt16, UInt16) =
            switch error.code {
            case EDQUOT: (2, 2)
            case ENOSPC: (3, 1)
            case ENOENT, ENOTDIR, EACCES, EPERM, EROFS: (3, 5)
            default: (3, 0)
            }
        self.init(
            EnhancedStatus(.persistentTransientFailure, subject, detail),
            "The mailbox can't be written: \(error)")
    }

    /// Our own trouble: the message waits (4.3.0), lest it be tried again without a pause.
    init(unreadable error: SpoolError) {
        self.init(
            EnhancedStatus(.persistentTransientFailure, 3, 0),
            "The message can't be read: \(error)")
    }
}
