/// What the first octets of a connection say of the ClientHello that is to come.
///
/// OpenSSL believes them: nine octets that announce a message of 128 KiB, its limit for a ClientHello,
/// make it take that much memory at once, and a client that stops there keeps it until the handshake's
/// time is over. So they are read before there is an `SSL` at all.
enum ClientHelloHead: Equatable {
    /// More octets are needed. As many as ``maximumOctets`` are always enough.
    case incomplete
    /// The length of the message, as announced.
    case length(Int)
    /// No ClientHello. What is wrong with it OpenSSL knows best.
    case other

    /// Octets of a ClientHello that are accepted. Real ones have a few hundred, with post-quantum key
    /// shares about 2,000.
    static let longestHello = 16 * 1024
    /// Four records of one octet each.
    static let maximumOctets = 24

    private static let recordHeaderLength = 5
    private static let longestFragment = 16 * 1024
    private static let handshakeRecord: UInt8 = 22
    private static let clientHello: UInt8 = 1

    /// RFC 8446 5.1: records of type, version (2 octets), length (2) and fragment; RFC 8446 4: the
    /// message begins with its type and a length of 3 octets, however it is cut into records.
    static func parse(_ octets: Span<UInt8>) -> Self {
        var length = 0
        var count = 0
        var record = 0
        while record < octets.count {
            guard octets[record] == handshakeRecord else { return .other }
            guard record + recordHeaderLength <= octets.count else { return .incomplete }
            let fragment = Int(octets[record + 3]) << 8 | Int(octets[record + 4])
            guard (1...longestFragment).contains(fragment) else { return .other }
            let start = record + recordHeaderLength
            for place in start..<start + fragment {
                guard place < octets.count else { return .incomplete }
                if count == 0, octets[place] != clientHello { return .other }
                if count > 0 { length = length << 8 | Int(octets[place]) }
                count += 1
                if count == 4 { return .length(length) }
            }
            record = start + fragment
        }
        return .incomplete
    }
}
