import ElemtaReactor

/// What a session is called in the log and by XDEBUG: a UUID of RFC 9562's version 8, made of the
/// server's start and of the session's place, so that a session carries none.
struct SessionID: Hashable, Sendable, CustomStringConvertible {
    /// Of this run of the server; two runs don't name their sessions alike.
    private static let run = UInt64.random(in: .min ... .max)

    private let high: UInt64
    private let low: UInt64

    init(_ connection: ConnectionID) { self.init(connection, run: Self.run) }

    init(_ connection: ConnectionID, run: UInt64) {
        high = run & ~0xF000 | 0x8000
        low = connection.token & ~(0b11 << 62) | 0b10 << 62
    }

    var description: String {
        var octets: [UInt8] = []
        octets.reserveCapacity(36)
        for (word, hyphens) in [(high, [8, 12]), (low, [0, 4])] {
            for digit in 0..<16 {
                if hyphens.contains(digit) { octets.append(UInt8(ascii: "-")) }
                octets.append(Self.digits[Int(word >> UInt64(60 - 4 * digit) & 0xF)])
            }
        }
        return String(decoding: octets, as: UTF8.self)
    }

    private static let digits = Array("0123456789abcdef".utf8)
}
