/// Every metric there is: its name, its type and what it means, once for all who need to know.
/// `docs/metrics.md` is the same as a table.
enum MetricFamily: String, CaseIterable {
    case buildInfo = "elemta_build_info"
    case ready = "elemta_ready"

    case connections = "elemta_connections"
    case connectionsTotal = "elemta_connections_total"
    case connectionsLimit = "elemta_connections_limit"
    case tlsSessions = "elemta_tls_sessions_total"
    case tlsFailures = "elemta_tls_failures_total"
    case commands = "elemta_commands_total"
    case replies = "elemta_replies_total"
    case acceptedMessages = "elemta_accepted_messages_total"
    case acceptedBytes = "elemta_accepted_bytes_total"
    case rejectedMessages = "elemta_rejected_messages_total"
    case rejectedBytes = "elemta_rejected_bytes_total"
    case rejectedRecipients = "elemta_rejected_recipients_total"
    case authentications = "elemta_authentications_total"

    case queueMessages = "elemta_queue_messages"
    case queueAge = "elemta_queue_age_seconds"
    case queueBytes = "elemta_queue_bytes"
    case queueFileBytes = "elemta_queue_file_bytes"
    case outstanding = "elemta_queue_outstanding"
    case unreachable = "elemta_unreachable_destinations"
    case commitMessages = "elemta_commit_messages"
    case commitDuration = "elemta_commit_duration_seconds"
    case spoolRefused = "elemta_spool_refused_messages_total"

    case deliveries = "elemta_deliveries_total"
    case deliveryDuration = "elemta_delivery_duration_seconds"
    case failedRecipients = "elemta_failed_recipients_total"
    case reports = "elemta_reports_total"

    case loopLag = "elemta_loop_lag_seconds"
    case memoryUsed = "elemta_memory_used_bytes"
    case memoryLimit = "elemta_memory_limit_bytes"
    case backlog = "elemta_backlog"
    case logLinesDropped = "elemta_log_lines_dropped_total"

    case processCPU = "process_cpu_seconds_total"
    case processMemory = "process_resident_memory_bytes"
    case processDescriptors = "process_open_fds"
    case processDescriptorLimit = "process_max_fds"
    case processStart = "process_start_time_seconds"

    enum Kind: String {
        case counter, gauge, histogram
    }

    var kind: Kind {
        switch self {
        case .queueAge, .commitMessages, .commitDuration, .deliveryDuration, .loopLag: .histogram
        case _: rawValue.hasSuffix("_total") ? .counter : .gauge
        }
    }

    /// Names of its labels, but for a histogram's `le`.
    var labels: [String] {
        switch self {
        case .buildInfo, .tlsSessions: ["version"]
        case .connections: ["listener"]
        case .connectionsTotal: ["listener", "outcome"]
        case .commands: ["command"]
        case .replies: ["code"]
        case .rejectedMessages, .rejectedBytes, .rejectedRecipients: ["reason"]
        case .authentications: ["result"]
        case .queueMessages, .queueAge: ["state"]
        case .deliveries: ["outcome"]
        case .backlog: ["pool"]
        case _: []
        }
    }

    /// What the line HELP says: one line, no backslash.
    var help: String {
        switch self {
        case .buildInfo: "1; the label tells the version that runs."
        case .ready: "1 while the server accepts mail, 0 while it drains or the spool refuses."
        case .connections: "SMTP sessions now."
        case .connectionsTotal: "SMTP connections that came, by what became of them."
        case .connectionsLimit: "SMTP sessions that there may be at a time."
        case .tlsSessions: "TLS handshakes of clients that succeeded, by protocol."
        case .tlsFailures: "TLS handshakes of clients that failed."
        case .commands: "SMTP commands received; OTHER is no command of ours."
        case .replies: "SMTP replies sent in sessions, by code."
        case .acceptedMessages: "Messages that were answered 250: they are on disk."
        case .acceptedBytes: "Content of the messages that were accepted."
        case .rejectedMessages: "MAIL commands and contents that were refused, by reason."
        case .rejectedBytes: "Content that was received and then refused, by reason."
        case .rejectedRecipients: "RCPT commands that were refused, by reason."
        case .authentications: "Credentials of clients, by what became of them."
        case .queueMessages: "Messages in the queue, by state."
        case .queueAge: "Ages of the messages in the queue now, by state; to 30 s."
        case .queueBytes: "Content of the messages in the queue."
        case .queueFileBytes: "Size of spool.mdb."
        case .outstanding: "Deliveries that were handed to the workers and are not answered."
        case .unreachable: "Destinations that cannot be reached now; mail for them waits."
        case .commitMessages:
            "Messages acknowledged by one sync of the journal or one commit of the spool."
        case .commitDuration:
            "Time for writing and syncing one batch of the journal, or one commit of the spool."
        case .spoolRefused: "Messages that could not be put on disk, and were refused for it."
        case .deliveries: "Attempts to deliver to one recipient, by what became of them."
        case .deliveryDuration: "Time for one attempt, from the beginning of its transaction."
        case .failedRecipients: "Recipients that have failed for good."
        case .reports: "Delivery reports (bounces among them) that were queued."
        case .loopLag: "How late the reactor's loop was for a timer; it looks twice a second."
        case .memoryUsed: "Memory that sessions hold, of limits.memory."
        case .memoryLimit: "limits.memory."
        case .backlog: "Jobs that wait for the threads of a pool."
        case .logLinesDropped: "Log lines that were lost: nobody took them, or a write failed."
        case .processCPU: "Time that all threads have used of the processors."
        case .processMemory: "Resident memory of the process."
        case .processDescriptors: "Descriptors that the process has open."
        case .processDescriptorLimit: "Descriptors that the process may have open."
        case .processStart: "When the process began, seconds since 1970."
        }
    }
}
