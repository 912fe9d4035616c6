/// What a field of a log line says. Text is made of it on the log's own thread, if the line is written.
enum LogValue: ExpressibleByStringInterpolation, CustomStringConvertible, Sendable {
    case text(String)
    case number(Int)
    /// Described when the line is written.
    case described(any CustomStringConvertible & Sendable)

    init(stringLiteral value: String) { self = .text(value) }

    var description: String {
        switch self {
        case .text(let text): text
        case .number(let number): String(number)
        case .described(let value): value.description
        }
    }
}
