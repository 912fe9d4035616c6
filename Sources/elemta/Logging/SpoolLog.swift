import ElemtaQueue
import ElemtaSMTP
import Logging

/// What the spool has to say, as log lines.
enum SpoolLog {
    static func write(_ event: SpoolEvent, to log: Logger) {
        switch event {
        // Counted, not told: there may be hundreds a second.
        case .committed: break
        case .checking(let octets):
            log.notice(
                "queue_check", metadata: ["cause": "unclean stop", "octets": "\(octets)"])
        case .salvaged(let report):
            log.error(
                "corrupt",
                metadata: [
                    "quarantined": "\(report.file)", "reason": "\(report.reason)",
                    "saved": "\(report.saved)", "restored": "\(report.restored)",
                    "incomplete": "\(report.incomplete)",
                    "lost": "\(report.lost.map(String.init) ?? "unknown")",
                    "may_repeat": "\(report.mayRepeat)",
                ])
        case .lost(let id): log.error("corrupt", metadata: ["lost": "\(id)"])
        case .suspected(let reason):
            log.error(
                "corrupt",
                metadata: ["reason": "\(reason)", "advice": "the next start salvages the queue"])
        case .recovered(let report):
            log.notice(
                "queue_recovered",
                metadata: [
                    "messages": "\(report.messages)", "octets": "\(report.octets)",
                    "quarantined": "\(report.quarantined)",
                    "removed_files": "\(report.removedFiles)",
                ])
        case .quarantined(let name, let reason):
            log.error("corrupt", metadata: ["quarantined": "\(name)", "reason": "\(reason)"])
        case .deferred(let id, let destination, let recipients, let status, let until):
            log.info(
                "message_deferred",
                metadata: fields(id, destination, recipients, status).merging(
                    ["until": "\(until.rfc3339)"]) { first, _ in first })
        case .failed(let id, let destination, let recipients, let status):
            log.warning(
                "message_failed", metadata: fields(id, destination, recipients, status))
        case .reported(let report, let about):
            log.info("message_bounced", metadata: ["id": "\(about)", "report": "\(report)"])
        case .unreachable(let destination, let status, let nextProbe):
            log.warning(
                "destination_unreachable",
                metadata: [
                    "destination": "\(destination)", "next_probe": "\(nextProbe.rfc3339)",
                    "text": "\(String(decoding: status.text, as: UTF8.self))",
                ])
        case .reachable(let destination):
            log.notice("destination_reachable", metadata: ["destination": "\(destination)"])
        case .refused(let count, let error):
            log.error("spool_refused", metadata: ["messages": "\(count)", "error": "\(error)"])
        case .expired(let id):
            log.info("message_removed", metadata: ["id": "\(id)", "reason": "retention is over"])
        case .reserveGivenUp: log.warning("queue_reserve_given_up")
        case .reserveFilled: log.notice("queue_reserve_filled")
        case .stalled(let error): log.error("queue_stalled", metadata: ["error": "\(error)"])
        case .resumed: log.notice("queue_resumed")
        case .reopened(let after): log.error("queue_reopened", metadata: ["after": "\(after)"])
        }
    }

    private static func fields(
        _ id: MessageID, _ destination: Destination, _ recipients: Int, _ status: DeliveryStatus
    ) -> Logger.Metadata {
        [
            "id": "\(id)", "destination": "\(destination)", "recipients": "\(recipients)",
            "code": "\(status.code)", "next_hop": "\(status.nextHop)",
            "text": "\(String(decoding: status.text, as: UTF8.self))",
        ]
    }
}
