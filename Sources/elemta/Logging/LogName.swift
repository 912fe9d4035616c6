import Logging

/// Every event of the log, by its name. `docs/logging.md` lists them for whoever reads the log, and
/// a test holds that page to this table.
///
/// Names and fields are what other people's programs look for: they stay as they are.
enum LogName: String, CaseIterable, Sendable {
    // The server.
    case starting, ready, stopped
    case cannotStart = "cannot_start"
    case userChanged = "user_changed"
    case runningAsRoot = "running_as_root"
    case descriptorsShort = "descriptors_short"
    case shuttingDown = "shutting_down"
    case shutdownTimeout = "shutdown_timeout"
    case handoverAsked = "handover_asked"
    case handingOver = "handing_over"
    case handoverWaits = "handover_waits"
    case handedOver = "handed_over"
    case handoverFailed = "handover_failed"
    case takingOver = "taking_over"
    case configurationReloaded = "configuration_reloaded"
    case configurationRefused = "configuration_refused"
    case configurationWarning = "configuration_warning"
    case restartNeeded = "restart_needed"
    case devMode = "dev_mode"
    case devModeExposed = "dev_mode_exposed"
    case queueCommand = "queue_command"

    // The log itself.
    case logReopened = "log_reopened"
    case logLinesDropped = "log_lines_dropped"
    case logFileFailed = "log_file_failed"
    case logFileRestored = "log_file_restored"

    // Connections and sessions.
    case connectionOpened = "connection_opened"
    case connectionClosed = "connection_closed"
    case connectionRefused = "connection_refused"
    case connectionFailed = "connection_failed"
    case sessionCutOff = "session_cut_off"
    case commandRejected = "command_rejected"
    case authentication
    case tlsEstablished = "tls_established"
    case tlsFailed = "tls_failed"

    // Messages on their way in.
    case messageAccepted = "message_accepted"
    case messageReceived = "message_received"
    case messageRejected = "message_rejected"
    case contentFileFailed = "content_file_failed"

    // Messages on their way out.
    case messageDelivered = "message_delivered"
    case deliveryDeferred = "delivery_deferred"
    case deliveryFailed = "delivery_failed"
    case deliveryPossiblyDuplicated = "delivery_possibly_duplicated"
    case relayLoginFailed = "relay_login_failed"
    case messageDeferred = "message_deferred"
    case messageBounced = "message_bounced"
    case messageReported = "message_reported"
    case messageRemoved = "message_removed"
    case destinationUnreachable = "destination_unreachable"
    case destinationReachable = "destination_reachable"
    case routeObstructed = "route_obstructed"

    // The queue.
    case queueCheck = "queue_check"
    case queueRecovered = "queue_recovered"
    case corrupt
    case spoolRefused = "spool_refused"
    case queueReserveGivenUp = "queue_reserve_given_up"
    case queueReserveFilled = "queue_reserve_filled"
    case queueStalled = "queue_stalled"
    case queueResumed = "queue_resumed"
    case queueReopened = "queue_reopened"
    case queueJournalFailed = "queue_journal_failed"

    // Certificates, users, directories, address files.
    case certificateLoaded = "certificate_loaded"
    case certificateRefused = "certificate_refused"
    case certificateExpired = "certificate_expired"
    case certificateNotYetValid = "certificate_not_yet_valid"
    case authInClear = "auth_in_clear"
    case authWarning = "auth_warning"
    case usersReloaded = "users_reloaded"
    case usersNotReloaded = "users_not_reloaded"
    case metricsExposed = "metrics_exposed"
    case directoryUnavailable = "directory_unavailable"
    case directoryAvailable = "directory_available"
    case directoryAmbiguous = "directory_ambiguous"
    case recipientsReloaded = "recipients_reloaded"
    case recipientsNotReloaded = "recipients_not_reloaded"
    case recipientsWarning = "recipients_warning"
    case calloutFailed = "callout_failed"

    /// How much it matters. What a client does wrong is information: it's the operator's to change.
    var level: Logger.Level {
        switch self {
        case .connectionOpened, .tlsEstablished: .debug
        case .queueCommand, .connectionClosed, .connectionRefused, .sessionCutOff,
            .commandRejected, .authentication, .tlsFailed, .messageAccepted, .messageReceived,
            .messageRejected, .messageDelivered, .deliveryDeferred, .messageDeferred,
            .messageReported, .messageRemoved:
            .info
        case .starting, .ready, .stopped, .userChanged, .shuttingDown, .logReopened, .handoverAsked,
            .handingOver, .handoverWaits, .handedOver, .takingOver, .queueResumed,
            .configurationReloaded,
            .logFileRestored, .destinationReachable, .queueCheck, .queueRecovered,
            .queueReserveFilled, .certificateLoaded, .usersReloaded,
            .directoryAvailable, .recipientsReloaded:
            .notice
        case .runningAsRoot, .descriptorsShort, .shutdownTimeout, .devMode, .devModeExposed,
            .logLinesDropped, .deliveryFailed, .deliveryPossiblyDuplicated, .relayLoginFailed,
            .messageBounced, .destinationUnreachable, .routeObstructed, .queueReserveGivenUp,
            .certificateExpired, .certificateNotYetValid, .authInClear, .authWarning,
            .directoryAmbiguous, .recipientsWarning, .calloutFailed, .metricsExposed,
            .configurationWarning, .restartNeeded:
            .warning
        case .handoverFailed, .configurationRefused, .logFileFailed, .connectionFailed,
            .contentFileFailed, .corrupt,
            .spoolRefused,
            .queueStalled, .queueReopened, .queueJournalFailed, .certificateRefused,
            .usersNotReloaded,
            .directoryUnavailable, .recipientsNotReloaded:
            .error
        case .cannotStart: .critical
        }
    }

    /// By which fields lines of this event are the same to `LogFlood`; nil: each one is written.
    ///
    /// Counted is what a stranger, or a disk that fails, can cause as often as it likes. Lines that
    /// say what became of a message that was accepted are never among them. Two fields at most.
    var sameness: [LogField]? {
        switch self {
        case .connectionOpened, .connectionClosed, .commandRejected, .tlsEstablished, .tlsFailed:
            [.client]
        case .connectionRefused, .sessionCutOff: [.reason]
        case .authentication: [.client, .result]
        case .messageRejected: [.client, .reply]
        case .connectionFailed, .spoolRefused, .directoryUnavailable: [.error]
        case .contentFileFailed: [.error]
        case .calloutFailed: [.destination]
        case .directoryAmbiguous: []
        case .starting, .ready, .stopped, .cannotStart, .userChanged, .runningAsRoot,
            .descriptorsShort, .shuttingDown, .shutdownTimeout, .devMode, .devModeExposed,
            .configurationReloaded, .configurationRefused, .configurationWarning, .restartNeeded,
            .metricsExposed, .handoverAsked, .handingOver, .handoverWaits, .handedOver,
            .handoverFailed, .takingOver, .queueResumed,
            .queueCommand, .logReopened, .logLinesDropped, .logFileFailed, .logFileRestored,
            .messageAccepted, .messageReceived, .messageDelivered,
            .deliveryDeferred, .deliveryFailed, .deliveryPossiblyDuplicated, .relayLoginFailed,
            .messageDeferred, .messageBounced, .messageReported, .messageRemoved,
            .destinationUnreachable, .destinationReachable, .routeObstructed, .queueCheck,
            .queueRecovered, .corrupt, .queueReserveGivenUp, .queueReserveFilled, .queueStalled,
            .queueReopened, .queueJournalFailed, .certificateLoaded, .certificateRefused,
            .certificateExpired,
            .certificateNotYetValid, .authInClear, .authWarning, .usersReloaded,
            .usersNotReloaded, .directoryAvailable,
            .recipientsReloaded, .recipientsNotReloaded, .recipientsWarning:
            nil
        }
    }

    /// Whether it says what became of a message: such lines are the last of their level to be lost.
    var isOfMessage: Bool {
        switch self {
        case .messageAccepted, .messageReceived, .messageDelivered, .deliveryDeferred,
            .deliveryFailed, .deliveryPossiblyDuplicated, .relayLoginFailed, .messageDeferred,
            .messageBounced, .messageReported, .messageRemoved:
            true
        default: false
        }
    }
}

extension Logger {
    /// Writes one line of the event, with fields that it declares.
    func write(
        _ name: LogName, at level: Logger.Level? = nil, _ fields: @autoclosure () -> LogFields = [:]
    ) {
        let level = level ?? name.level
        guard level >= logLevel else { return }
        let fields = name.checked(fields())
        if let writer = handler as? WriterLogHandler {
            writer.log(level, name, fields)
        } else {
            log(
                level: level, Logger.Message(stringLiteral: name.rawValue),
                metadata: fields.metadata)
        }
    }
}

extension LogName {
    fileprivate func checked(_ fields: LogFields) -> LogFields {
        assert(
            fields.all.allSatisfy { name, _ in self.fields.contains { $0.rawValue == name } },
            "\(rawValue) declares fewer fields than \(fields.all.map(\.name).sorted())")
        return fields
    }
}
