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
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        var fields = event.metadata
        if !metadata.isEmpty {
            fields = metadata.merging(event.metadata ?? [:]) { _, later in later }
        }
        writer.log(.init(time: now, level: event.level, event: event.message, metadata: fields))
    }
}
