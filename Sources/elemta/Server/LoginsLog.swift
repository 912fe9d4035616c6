import ElemtaAuthentication
import Logging

/// What users files and directories have to say, as log lines.
enum LoginsLog {
    static func write(_ event: WatchedFileEvent, to log: Logger) {
        switch event {
        case .reloaded(let count, let warnings):
            log.notice("users_reloaded", metadata: ["users": "\(count)"])
            write(warnings: warnings.map(\.description), to: log)
        case .refused(let errors):
            for problem in errors.problems {
                log.error("users_not_reloaded", metadata: ["error": "\(problem)"])
            }
        }
    }

    static func write(warnings: [String], to log: Logger) {
        for warning in warnings {
            log.warning("auth_warning", metadata: ["warning": "\(warning)"])
        }
    }

    static func write(_ event: LDAPEvent, to log: Logger) {
        switch event {
        case .unavailable(let error):
            log.error("directory_unavailable", metadata: ["error": "\(error)"])
        case .available: log.notice("directory_available")
        case .ambiguous(let user):
            log.warning("directory_ambiguous", metadata: ["user": "\(user.prefix(128))"])
        }
    }
}
