import Logging

/// Every field that a log line may have besides its time, level and event.
enum LogField: String, CaseIterable, Sendable {
    case action, address, advice, after, cause, cipher, client, code, configuration,
        debug, delivery, descriptors, destination, duration = "duration_ms", error, file, from,
        host, hostname, http, id, incomplete, info, kept, keys, keptMessages = "kept_messages",
        keptOctets = "kept_octets", kind, limit, listener, listeners,
        localDomains = "local_domains", lost, lostLines = "lost_lines",
        maxConnections = "max_connections", mayRelay = "may_relay", mayRepeat = "may_repeat",
        messages, nextHop = "next_hop", nextProbe = "next_probe", notAfter = "not_after",
        notBefore = "not_before", note, notice, octets, off, problem, protocolName = "protocol",
        quarantined, queue, readBy = "read_by", reason, recipients, removedFiles = "removed_files",
        repeated, reply,
        report, restored, result, saved, session, sessions, subject, text,
        timeout = "timeout_ms", tls, tlsFailure = "tls_failure", tlsProblem = "tls_problem", to,
        until, user, users, verified, version, wanted, warning
    case devMode = "dev_mode"
    case recipientCount = "count"

    /// Whether it is an integer wherever it is used, so that a JSON reader can add it up.
    var isNumber: Bool {
        switch self {
        case .code, .debug, .descriptors, .duration, .info, .keptMessages, .keptOctets, .limit,
            .lostLines, .maxConnections, .messages, .notice, .octets, .recipients, .recipientCount,
            .removedFiles, .repeated, .restored, .saved, .sessions, .timeout, .users, .wanted:
            true
        case .action, .address, .advice, .after, .cause, .cipher, .client,
            .configuration, .delivery, .destination, .devMode, .error, .file, .from, .host,
            .hostname, .http, .id, .incomplete, .kept, .keys, .kind, .listener, .listeners,
            .localDomains,
            .lost, .mayRelay, .mayRepeat, .nextHop, .nextProbe, .notAfter, .notBefore, .note,
            .off, .problem, .protocolName, .quarantined, .queue, .readBy, .reason, .reply, .report,
            .result, .session, .subject, .text, .tls, .tlsFailure, .tlsProblem, .to, .until,
            .user, .verified, .version, .warning:
            false
        }
    }
}

/// The fields of one line: what swift-log calls metadata, with names that are declared.
struct LogFields: ExpressibleByDictionaryLiteral {
    private(set) var metadata: Logger.Metadata

    init(dictionaryLiteral elements: (LogField, Logger.MetadataValue)...) {
        metadata = Logger.Metadata(minimumCapacity: elements.count)
        for (field, value) in elements { metadata[field.rawValue] = value }
    }

    subscript(field: LogField) -> Logger.MetadataValue? {
        get { metadata[field.rawValue] }
        set { metadata[field.rawValue] = newValue }
    }

    /// With those of `others` that it doesn't have itself.
    func adding(_ others: LogFields) -> LogFields {
        var all = self
        all.metadata.merge(others.metadata) { own, _ in own }
        return all
    }
}
