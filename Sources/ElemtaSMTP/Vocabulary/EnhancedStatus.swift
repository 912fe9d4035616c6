/// An enhanced mail system status code, RFC 3463: `class.subject.detail`.
public struct EnhancedStatus: Hashable, Sendable {
    public enum Class: UInt8, Hashable, Sendable {
        case success = 2
        case persistentTransientFailure = 4
        case permanentFailure = 5
    }

    public let `class`: Class
    public let subject: UInt16
    public let detail: UInt16

    public init(_ class: Class, _ subject: UInt16, _ detail: UInt16) {
        self.class = `class`
        self.subject = subject
        self.detail = detail
    }

    /// Reads `5.7.1`: a class of 2, 4 or 5, then one to three digits twice (RFC 3463 2).
    public init?(_ text: String) {
        let parts = text.utf8.split(separator: .dot, omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ (1...3).contains($0.count) }),
            parts.allSatisfy({ $0.allSatisfy(\.isDigit) }), parts[0].count == 1
        else { return nil }
        let numbers = parts.map { part in
            part.reduce(UInt16(0)) { $0 * 10 + UInt16($1 - UInt8(ascii: "0")) }
        }
        guard let `class` = Class(rawValue: UInt8(truncatingIfNeeded: numbers[0]))
        else { return nil }
        self.init(`class`, numbers[1], numbers[2])
    }
}

extension EnhancedStatus: CustomStringConvertible {
    public var description: String { "\(`class`.rawValue).\(subject).\(detail)" }
}
