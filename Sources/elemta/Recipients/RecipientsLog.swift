import ElemtaAuthentication
import ElemtaDelivery
import Logging

/// What address files have to say, as log lines.
enum RecipientsLog {
    static func write(_ event: WatchedFileEvent, _ path: String, to log: Logger) {
        switch event {
        case .reloaded(let count, _):
            log.notice("recipients_reloaded", metadata: ["file": "\(path)", "count": "\(count)"])
        case .refused(let errors):
            for problem in errors.problems {
                log.error("recipients_not_reloaded", metadata: ["error": "\(problem)"])
            }
        }
    }

    static func write(_ trouble: RecipientProber.Trouble, to log: Logger) {
        log.warning(
            "callout_failed",
            metadata: [
                "destination": "\(trouble.destination)", "error": "\(trouble.reason)",
            ])
    }

    static func write(complaints: [String], to log: Logger) {
        for complaint in complaints {
            log.warning("recipients_warning", metadata: ["warning": "\(complaint)"])
        }
    }
}
