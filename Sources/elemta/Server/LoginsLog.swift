import ElemtaAuthentication
import Logging

/// What users files and directories have to say, as log lines.
enum LoginsLog {
    static func write(_ event: WatchedFileEvent, to log: Logger) {
        switch event {
        case .reloaded(let count, let warnings):
            log.write(.usersReloaded, [.users: "\(count)"])
            write(warnings: warnings.map(\.description), to: log)
        case .refused(let errors):
            for problem in errors.problems {
                log.write(.usersNotReloaded, [.error: "\(problem)"])
            }
        }
    }

    static func write(warnings: [String], to log: Logger) {
        for warning in warnings {
            log.write(.authWarning, [.warning: "\(warning)"])
        }
    }

    static func write(_ event: LDAPEvent, to log: Logger) {
        switch event {
        case .unavailable(let error):
            log.write(.directoryUnavailable, [.error: "\(error)"])
        case .available: log.write(.directoryAvailable)
        case .ambiguous(let user):
            log.write(.directoryAmbiguous, [.user: "\(user.prefix(128))"])
        }
    }
}
