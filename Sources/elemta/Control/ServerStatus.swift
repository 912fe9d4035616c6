import ElemtaQueue
import ElemtaSMTP

/// What the running server is doing: `elemta status`.
struct ServerStatus: Sendable {
    struct Listener: Sendable {
        let address: String
        /// Sessions that came there and are still open.
        let connections: Int
    }

    let version = Elemta.version
    let processID: Int32
    let begin: UnixTime
    let now: UnixTime
    /// Why no mail is accepted; nil when it is.
    let obstacle: String?
    let isDevelopment: Bool
    let listeners: [Listener]
    /// Where it listens, as the kernel has it; empty while it drains.
    let addresses: [String]
    let http: [String]
    let connectionLimit: Int
    let census: QueueCensus
    let queue: SpoolStatistics
    let memoryUsed: Int
    let memoryLimit: Int

    /// Not the clock's, which may have been set meanwhile.
    private var secondsUp: Int64 { max(0, now.seconds - begin.seconds) }

    private var connections: Int { listeners.reduce(0) { $0 + $1.connections } }

    /// - Parameter isJSON: one JSON object, else lines for people.
    func octets(isJSON: Bool) -> [UInt8] {
        let resident = ProcessFigures.residentOctets
        let descriptors = ProcessFigures.descriptors
        return isJSON
            ? json(resident: resident, descriptors: descriptors)
            : table(resident: resident, descriptors: descriptors)
    }

    private func table(resident: Int, descriptors: Int) -> [UInt8] {
        let states = QueueState.allCases
            .map { "\($0.rawValue) \(census.count(in: $0))" }.joined(separator: ", ")
        var lines = [
            ("version", version), ("pid", "\(processID)"),
            ("up since", "\(begin.rfc3339), \(Self.words(secondsUp))"),
            ("state", obstacle.map { "accepts no mail: \($0)" } ?? "serving"),
            ("listening", addresses.isEmpty ? "no more" : addresses.joined(separator: ", ")),
        ]
        if !http.isEmpty { lines.append(("http", http.joined(separator: ", "))) }
        lines.append(("connections", "\(connections) of \(connectionLimit)"))
        if listeners.count > 1 {
            for listener in listeners {
                lines.append(("", "\(listener.connections) at \(listener.address)"))
            }
        }
        lines += [
            ("queue", "\(states); \(queue.octets) octets"),
            (
                "deliveries",
                isDevelopment
                    ? "none: dev mode"
                    : "\(queue.outstanding) under way, \(queue.unreachable) destinations unreachable"
            ),
            (
                "memory",
                "\(resident) octets resident; sessions hold \(memoryUsed) of \(memoryLimit)"
            ),
            ("descriptors", "\(descriptors) of \(ProcessFigures.descriptorLimit)"),
        ]
        return lines.flatMap { name, value in
            let padding = String(repeating: " ", count: max(0, 13 - name.count))
            return Array("\(name)\(padding)\(value)\n".utf8)
        }
    }

    private func json(resident: Int, descriptors: Int) -> [UInt8] {
        var object = JSONObject()
        object.add("version", version)
        object.add("pid", Int(processID))
        object.add("since", begin.rfc3339)
        object.add("seconds_up", Int(secondsUp))
        object.add("ready", obstacle == nil)
        object.add("obstacle", obstacle)
        object.add("dev_mode", isDevelopment)
        object.add("listening", addresses)
        object.add("http", http)
        object.add("connections", connections)
        object.add("connections_limit", connectionLimit)
        object.add(
            "listeners",
            listeners.map { listener in
                var object = JSONObject()
                object.add("address", listener.address)
                object.add("connections", listener.connections)
                return object
            })
        for state in QueueState.allCases {
            object.add("queue_\(state.rawValue)", census.count(in: state))
        }
        object.add("queue_octets", Int(clamping: queue.octets))
        object.add("deliveries_outstanding", queue.outstanding)
        object.add("destinations_unreachable", queue.unreachable)
        object.add("memory_resident", resident)
        object.add("memory_used", memoryUsed)
        object.add("memory_limit", memoryLimit)
        object.add("descriptors", descriptors)
        object.add("descriptors_limit", ProcessFigures.descriptorLimit)
        return object.line
    }

    /// The two greatest units, as people say it.
    private static func words(_ seconds: Int64) -> String {
        let units = [
            ("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60),
            ("s", seconds % 60),
        ]
        let first = units.firstIndex { $0.1 > 0 } ?? 3
        return units[first...].prefix(2).map { "\($0.1) \($0.0)" }.joined(separator: " ")
    }
}

/// A question about the server itself, as it travels over the control socket.
enum ServerInquiry: Equatable, Sendable {
    case status(isJSON: Bool)
    /// Whether the loop answers, and with `isReadiness`, whether mail is accepted.
    case health(isReadiness: Bool)

    var words: [String] {
        switch self {
        case .status(let isJSON): ["status", isJSON ? "json" : "table"]
        case .health(let isReadiness): ["health", isReadiness ? "ready" : "alive"]
        }
    }

    /// Nil when the words are no inquiry of this version.
    init?(words: [String]) {
        switch words {
        case ["status", "json"]: self = .status(isJSON: true)
        case ["status", "table"]: self = .status(isJSON: false)
        case ["health", "ready"]: self = .health(isReadiness: true)
        case ["health", "alive"]: self = .health(isReadiness: false)
        case _: return nil
        }
    }
}
