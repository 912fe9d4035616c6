import ElemtaQueue
import ElemtaSMTP
import Logging

/// What the spool has to say, as log lines.
enum SpoolLog {
    static func write(_ event: SpoolEvent, to log: Logger) {
        switch event {
        // Counted, not told: there may be hundreds a second.
        case .committed: break
        // `ready` follows.
        case .opening: break
        case .checking(let octets):
            log.write(.queueCheck, [.cause: "unclean stop", .octets: "\(octets)"])
        case .salvaged(let report):
            log.write(
                .corrupt,
                [
                    .quarantined: "\(report.file)", .reason: "\(report.reason)",
                    .saved: "\(report.saved)", .restored: "\(report.restored)",
                    .incomplete: "\(report.incomplete)",
                    .lost: "\(report.lost.map(String.init) ?? "unknown")",
                    .mayRepeat: "\(report.mayRepeat)",
                ])
        case .lost(let id): log.write(.corrupt, [.lost: "\(id)"])
        case .suspected(let reason):
            log.write(
                .corrupt, [.reason: "\(reason)", .advice: "the next start salvages the queue"])
        case .recovered(let report):
            log.write(
                .queueRecovered,
                [
                    .messages: "\(report.messages)", .octets: "\(report.octets)",
                    .quarantined: "\(report.quarantined)",
                    .removedFiles: "\(report.removedFiles)",
                ])
        case .quarantined(let name, let reason):
            log.write(.corrupt, [.quarantined: "\(name)", .reason: "\(reason)"])
        case .deferred(let id, let destination, let recipients, let status, let until):
            log.write(
                .messageDeferred,
                fields(id, destination, recipients, status).adding(
                    [.until: "\(until.rfc3339)"]))
        case .failed(let id, let destination, let recipients, let status):
            log.write(.messageBounced, fields(id, destination, recipients, status))
        case .reported(let report, let about, let kinds):
            log.write(
                .messageReported,
                [
                    .id: "\(about)", .report: "\(report)",
                    .kind: "\(kinds.joined(separator: ","))",
                ])
        case .unreachable(let destination, let status, let nextProbe):
            log.write(
                .destinationUnreachable,
                [
                    .destination: "\(destination)", .nextProbe: "\(nextProbe.rfc3339)",
                    .text: "\(String(decoding: status.text, as: UTF8.self))",
                ])
        case .reachable(let destination):
            log.write(.destinationReachable, [.destination: "\(destination)"])
        case .refused(let count, let error):
            log.write(.spoolRefused, [.messages: "\(count)", .error: "\(error)"])
        case .expired(let id):
            log.write(.messageRemoved, [.id: "\(id)", .reason: "retention is over"])
        case .reserveGivenUp: log.write(.queueReserveGivenUp)
        case .reserveFilled: log.write(.queueReserveFilled)
        case .stalled(let error): log.write(.queueStalled, [.error: "\(error)"])
        case .resumed: log.write(.queueResumed)
        case .journalFailed(let error): log.write(.queueJournalFailed, [.error: "\(error)"])
        case .reopened(let after): log.write(.queueReopened, [.after: "\(after)"])
        }
    }

    private static func fields(
        _ id: MessageID, _ destination: Destination, _ recipients: Int, _ status: DeliveryStatus
    ) -> LogFields {
        [
            .id: "\(id)", .destination: "\(destination)", .recipients: "\(recipients)",
            .code: "\(status.code)", .nextHop: "\(status.nextHop)",
            .text: "\(String(decoding: status.text, as: UTF8.self))",
        ]
    }
}
