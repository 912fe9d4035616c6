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

/// The fields of one line, in the order in which they were given: what swift-log calls metadata, with
/// names that are declared. Not its dictionary, which two lines of each message made and sorted for
/// 5 us of the message's 70.
struct LogFields: ExpressibleByDictionaryLiteral, Sendable {
    private(set) var all: [(name: String, value: LogValue)]

    init(dictionaryLiteral elements: (LogField, LogValue)...) {
        all = elements.map { ($0.rawValue, $1) }
    }

    /// Those of a line that came by swift-log's own functions, whatever their names.
    init(_ metadata: Logger.Metadata) {
        all = metadata.map { ($0, .text($1.description)) }
    }

    subscript(field: LogField) -> LogValue? {
        get { all.first { $0.name == field.rawValue }?.value }
        set {
            let place = all.firstIndex { $0.name == field.rawValue }
            switch (place, newValue) {
            case (let place?, let value?): all[place].value = value
            case (let place?, nil): all.remove(at: place)
            case (nil, let value?): all.append((field.rawValue, value))
            case (nil, nil): break
            }
        }
    }

    /// With those of `others` that it doesn't have itself.
    func adding(_ others: LogFields) -> LogFields {
        var all = self
        for (name, value) in others.all where !self.all.contains(where: { $0.name == name }) {
            all.all.append((name, value))
        }
        return all
    }

    /// For other back ends of swift-log.
    var metadata: Logger.Metadata {
        Logger.Metadata(uniqueKeysWithValues: all.map { ($0, .string($1.description)) })
    }
}
