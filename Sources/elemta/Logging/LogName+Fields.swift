extension LogName {
    /// The fields that its lines may have. `repeated` is on the line that counts a flood.
    var fields: [LogField] {
        sameness == nil ? ownFields : ownFields + [.repeated]
    }

    private var ownFields: [LogField] {
        switch self {
        // The server.
        case .starting: [.version, .configuration]
        case .ready:
            [
                .listeners, .hostname, .queue, .mayRelay, .localDomains, .off, .maxConnections,
                .descriptors, .http, .devMode,
            ]
        case .stopped, .handoverAsked, .handedOver, .takingOver, .queueResumed, .logReopened,
            .directoryAvailable, .queueReserveGivenUp,
            .queueReserveFilled:
            []
        case .cannotStart, .handoverFailed, .usersNotReloaded,

            .directoryUnavailable,
            .recipientsNotReloaded, .queueStalled:
            [.error]
        case .userChanged, .directoryAmbiguous: [.user]
        case .runningAsRoot, .metricsExposed: [.advice]
        case .descriptorsShort: [.limit, .wanted, .maxConnections, .advice]
        case .shuttingDown, .handingOver: [.sessions, .timeout]
        case .handoverWaits: [.duration, .note]
        case .configurationReloaded, .restartNeeded: [.keys]
        case .configurationRefused: [.error, .readBy]
        case .configurationWarning: [.warning]
        case .shutdownTimeout: [.sessions]
        case .devMode: [.delivery, .keptMessages, .keptOctets]
        case .devModeExposed: [.listeners, .advice]
        case .queueCommand: [.action]
        // The log itself.
        case .logLinesDropped: [.debug, .info, .notice, .lostLines]
        case .logFileFailed: [.file, .error]
        case .logFileRestored: [.file, .lostLines]
        // Connections and sessions.
        case .connectionOpened: [.session, .client, .listener]
        case .connectionClosed: [.session, .client, .messages, .duration, .reason]
        case .connectionRefused: [.session, .client, .reason]
        case .connectionFailed: [.client, .error]
        case .sessionCutOff: [.session, .client, .reason]
        case .commandRejected: [.session, .client, .reply]
        case .authentication: [.session, .client, .result, .user]
        case .tlsEstablished: [.session, .client, .protocolName, .cipher]
        case .tlsFailed: [.session, .client, .error]
        // Messages on their way in.
        case .messageAccepted:
            [.id, .session, .client, .user, .from, .recipients, .octets, .protocolName]
        case .messageReceived:
            [
                .id, .session, .client, .user, .from, .to, .recipients, .octets, .protocolName,
                .subject, .kept,
            ]
        case .messageRejected: [.id, .session, .client, .reply]
        case .contentFileFailed: [.id, .session, .error]
        // Messages on their way out.
        case .messageDelivered, .deliveryDeferred, .deliveryFailed, .deliveryPossiblyDuplicated,
            .relayLoginFailed:
            [
                .id, .to, .recipients, .destination, .host, .address, .code, .text, .duration,
                .tls, .cipher, .verified, .tlsFailure, .tlsProblem,
            ]
        case .messageDeferred: [.id, .destination, .recipients, .code, .nextHop, .text, .until]
        case .messageBounced: [.id, .destination, .recipients, .code, .nextHop, .text]
        case .messageReported: [.id, .report, .kind]
        case .messageRemoved: [.id, .reason]
        case .destinationUnreachable: [.destination, .nextProbe, .text]
        case .destinationReachable: [.destination]
        case .routeObstructed: [.problem]
        // The queue.
        case .queueCheck: [.cause, .octets]
        case .queueRecovered: [.messages, .octets, .quarantined, .removedFiles]
        case .corrupt:
            [
                .quarantined, .reason, .saved, .restored, .incomplete, .lost, .mayRepeat, .advice,
            ]
        case .spoolRefused: [.messages, .error]
        case .queueReopened: [.after]
        case .queueJournalFailed: [.error]
        // Certificates, users, directories, address files.
        case .certificateLoaded, .certificateExpired: [.file, .notAfter]
        case .certificateRefused: [.file, .error, .note]
        case .certificateNotYetValid: [.file, .notBefore]
        case .authInClear: [.listener, .advice]
        case .authWarning, .recipientsWarning: [.warning]
        case .usersReloaded: [.users]
        case .recipientsReloaded: [.file, .recipientCount]
        case .calloutFailed: [.session, .destination, .error]
        }
    }
}
