import ElemtaAuthentication
import ElemtaDelivery
import Logging

/// What address files have to say, as log lines.
enum RecipientsLog {
    static func write(_ event: WatchedFileEvent, _ path: String, to log: Logger) {
        switch event {
        case .reloaded(let count, _):
            log.write(.recipientsReloaded, [.file: "\(path)", .recipientCount: "\(count)"])
        case .refused(let errors):
            for problem in errors.problems {
                log.write(.recipientsNotReloaded, [.error: "\(problem)"])
            }
        }
    }

    /// `session`: whose question has found it out.
    static func write(
        _ trouble: RecipientProber.Trouble, of session: SessionID, to log: Logger
    ) {
        log.write(
            .calloutFailed,
            [
                .session: .described(session), .destination: "\(trouble.destination)",
                .error: "\(trouble.reason)",
            ])
    }

    static func write(complaints: [String], to log: Logger) {
        for complaint in complaints {
            log.write(.recipientsWarning, [.warning: "\(complaint)"])
        }
    }
}
