/// What travels over the control socket (`control.sock`, mode 0600): one request, then the answer
/// as a stream of frames, so that a list of a million messages needs no memory on either side.
///
/// A request is its words, each ended by NUL, and a final LF. A frame is one octet of kind, the
/// payload's count in four octets (big-endian), and the payload.
enum ControlFrame: Equatable, Sendable {
    /// Octets for standard output.
    case output([UInt8])
    /// Octets for standard error.
    case complaint([UInt8])
    /// How far the work has come, as text for a terminal.
    case progress([UInt8])
    /// The last frame: the exit status (sysexits(3)).
    case exit(UInt8)

    /// Octets that a request may have: more than the ids of any command line, for which Linux has
    /// 6 MiB at most, of which each id takes its octets and those of a pointer (execve(2)).
    static let longestRequest = 4 * 1024 * 1024
    static let tooLong = "the request is longer than \(longestRequest) octets: name fewer messages"
    /// Payloads are cut into pieces no longer than this.
    static let longestPayload = 64 * 1024
    private static let headerCount = 5

    var octets: [UInt8] {
        switch self {
        case .output(let payload): Self.frame(UInt8(ascii: "o"), payload)
        case .complaint(let payload): Self.frame(UInt8(ascii: "e"), payload)
        case .progress(let payload): Self.frame(UInt8(ascii: "p"), payload)
        case .exit(let status): Self.frame(UInt8(ascii: "x"), [status])
        }
    }

    private static func frame(_ kind: UInt8, _ payload: [UInt8]) -> [UInt8] {
        let count = UInt32(payload.count)
        return [
            kind, UInt8(truncatingIfNeeded: count >> 24), UInt8(truncatingIfNeeded: count >> 16),
            UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count),
        ] + payload
    }

    enum Parsed: Equatable {
        case incomplete
        case frame(ControlFrame, count: Int)
        /// Not what a server of ours sends.
        case invalid
    }

    /// The frame at the front of `octets`.
    static func parse(_ octets: ArraySlice<UInt8>) -> Parsed {
        guard octets.count >= headerCount, let kind = octets.first else { return .incomplete }
        let count = octets.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
        guard count <= longestPayload else { return .invalid }
        guard octets.count >= headerCount + count else { return .incomplete }
        let payload = Array(octets.dropFirst(headerCount).prefix(count))
        let total = headerCount + count
        switch kind {
        case UInt8(ascii: "o"): return .frame(.output(payload), count: total)
        case UInt8(ascii: "e"): return .frame(.complaint(payload), count: total)
        case UInt8(ascii: "p"): return .frame(.progress(payload), count: total)
        case UInt8(ascii: "x"):
            guard let status = payload.first, count == 1 else { return .invalid }
            return .frame(.exit(status), count: total)
        default: return .invalid
        }
    }

    static func request(_ words: [String]) -> [UInt8] {
        words.flatMap { Array($0.utf8) + [0] } + [UInt8(ascii: "\n")]
    }

    /// The words of a request line without its LF; nil when it isn't one.
    static func words(of request: some BidirectionalCollection<UInt8>) -> [String]? {
        guard request.last == 0 || request.isEmpty else { return nil }
        return request.split(separator: 0, omittingEmptySubsequences: false).dropLast()
            .map { String(decoding: $0, as: UTF8.self) }
    }
}
