import Glibc
import Logging

/// swift-log's back end: hands every line to the `LogWriter`, unformatted.
struct WriterLogHandler: LogHandler {
    let writer: LogWriter
    /// The writer's: the same for everybody, and changed while the server runs.
    var logLevel: Logger.Level {
        get { writer.level }
        set { writer.level = newValue }
    }
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { _, later in later }
        let text = event.message.description
        log(event.level, text, LogName(rawValue: text), LogFields(fields))
    }

    /// A line of ours, past swift-log's dictionaries.
    func log(_ level: Logger.Level, _ name: LogName, _ fields: LogFields) {
        let fields = metadata.isEmpty ? fields : fields.adding(LogFields(metadata))
        log(level, name.rawValue, name, fields)
    }

    private func log(
        _ level: Logger.Level, _ event: String, _ name: LogName?, _ fields: LogFields
    ) {
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        writer.log(.init(time: now, level: level, event: event, name: name, fields: fields))
    }
}
