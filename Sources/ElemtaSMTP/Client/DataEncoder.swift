/// Dot-stuffing (RFC 5321 4.5.2) over content that comes in segments, without copying it: the
/// encoder names the runs that go on the wire as they are and the places where a dot comes between.
///
/// Only CRLF ends a line here, as it does for a receiver that obeys the RFC. Content with a bare CR
/// or LF must not be sent by DATA at all (`ClientSession` sees to that): a receiver that takes a bare
/// LF for a line end would find an end of data where there is none.
public struct DataEncoder: Sendable {
    /// What has to follow the last octet of the content.
    private enum Position {
        case lineStart, insideLine, afterCR
    }

    private var position = Position.lineStart

    public init() {}

    /// Hands `run` the octet ranges of `segment` in order; `dotFollows` says that one `.` goes on the
    /// wire after that range (which may be empty).
    public mutating func encode(
        _ segment: Span<UInt8>, run: (_ range: Range<Int>, _ dotFollows: Bool) -> Void
    ) {
        var start = 0
        var index = 0
        while index < segment.count {
            let octet = segment[index]
            if octet == UInt8(ascii: "."), case .lineStart = position {
                run(start..<index, true)
                start = index
            }
            switch (octet, position) {
            case (UInt8(ascii: "\r"), _): position = .afterCR
            case (UInt8(ascii: "\n"), .afterCR): position = .lineStart
            default: position = .insideLine
            }
            index += 1
        }
        if start < segment.count { run(start..<segment.count, false) }
    }

    /// What ends the data: `.` CRLF, with the CRLF of an unfinished last line before it (RFC 5321
    /// 4.1.1.4 lets nobody leave it out).
    public var terminator: [UInt8] {
        switch position {
        case .lineStart: Array(".\r\n".utf8)
        case .insideLine, .afterCR: Array("\r\n.\r\n".utf8)
        }
    }
}
