import Testing

@testable import ElemtaSMTP

@Suite struct ProxyHeaderTests {
    private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]

    private static func binary(
        _ command: UInt8, _ family: UInt8, _ octets: [UInt8], length: Int? = nil
    ) -> [UInt8] {
        let length = length ?? octets.count
        return signature + [command, family, UInt8(length >> 8), UInt8(length & 255)] + octets
    }

    private static func endpoint(_ address: String, _ port: UInt16) throws -> ProxyHeader.Endpoint {
        ProxyHeader.Endpoint(address: try #require(IPAddress(address)), port: port)
    }

    private static let ports: [UInt8] = [0xDC, 0x04, 0, 25]
    private static let v4: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 2] + ports
    private static let v6: [UInt8] = v6(last: 1) + v6(last: 2) + ports
    private static let mapped: [UInt8] =
        mapped([192, 0, 2, 1]) + mapped([198, 51, 100, 2]) + ports

    private static func v6(last: UInt8) -> [UInt8] {
        var octets = [UInt8](repeating: 0, count: 16)
        octets.replaceSubrange(0..<4, with: [0x20, 0x01, 0x0D, 0xB8])
        octets[15] = last
        return octets
    }

    private static func mapped(_ v4: [UInt8]) -> [UInt8] {
        [UInt8](repeating: 0, count: 10) + [255, 255] + v4
    }

    private static func valid() throws -> [([UInt8], ProxyHeader.Origin)] {
        let fromV4 = ProxyHeader.Origin.client(
            try endpoint("192.0.2.1", 56324), destination: try endpoint("198.51.100.2", 25))
        let fromV6 = ProxyHeader.Origin.client(
            try endpoint("2001:db8::1", 56324), destination: try endpoint("2001:db8::2", 25))
        return [
            (Array("PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n".utf8), fromV4),
            (Array("PROXY TCP6 2001:db8::1 2001:db8::2 56324 25\r\n".utf8), fromV6),
            (Array("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 56324 25\r\n".utf8), fromV4),
            (Array("PROXY UNKNOWN\r\n".utf8), .unknown),
            (Array("PROXY UNKNOWN ffff:f...f:ffff 65535 whatever\r\n".utf8), .unknown),
            (
                Array("PROXY UNKNOWN \(String(repeating: "x", count: 91))\r\n".utf8), .unknown
            ),
            (binary(0x21, 0x11, v4), fromV4),
            (binary(0x21, 0x21, v6), fromV6),
            (binary(0x21, 0x21, mapped), fromV4),
            (binary(0x21, 0x11, v4 + [0x04, 0, 1, 0]), fromV4),
            (binary(0x20, 0x00, []), .balancer),
            (binary(0x20, 0x11, v4), .balancer),
            (binary(0x21, 0x00, []), .unknown),
            (binary(0x21, 0x31, Array(repeating: 1, count: 216)), .unknown),
            (binary(0x21, 0x11, v4 + Array(repeating: 0, count: 4068)), fromV4),
        ]
    }

    @Test func headersAreReadWhereTheyEnd() throws {
        for (octets, origin) in try Self.valid() {
            let behind = octets + Array("EHLO c.example\r\n".utf8)
            let expected = ProxyHeader.Result.header(
                ProxyHeader(origin: origin, length: octets.count))
            #expect(ProxyHeader.parse(octets.span) == expected, "\(octets)")
            #expect(ProxyHeader.parse(behind.span) == expected, "\(octets)")
            for count in octets.indices {
                let part = octets.span.extracting(0..<count)
                #expect(ProxyHeader.parse(part) == .incomplete, "\(count) of \(octets)")
            }
        }
    }

    @Test func whatIsNoHeaderIsRefusedAtOnce() {
        let texts = [
            "EHLO c.example\r\n", "PROXX", "PROXY\r\n", "PROXY \r\n", "PROXY TCP4\r\n",
            "\r\n\r\nX",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 25 \r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 56324 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.2 1 25\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 25\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 25\n", "PROXY UNKNOWN\rX", "PROXY UNKNOWN\t\r\n",
            "PROXY UNKNOWNS\r\n", "proxy UNKNOWN\r\n", "\u{16}\u{03}\u{01}",
        ]
        let binaries: [[UInt8]] = [
            Self.binary(0x11, 0x11, Self.v4), Self.binary(0x22, 0x11, Self.v4),
            Self.binary(0x21, 0x12, Self.v4), Self.binary(0x21, 0x22, Self.v6),
            Self.binary(0x21, 0x11, Array(Self.v4.dropLast())),
            Self.binary(0x21, 0x21, Array(Self.v6.dropLast())),
            Self.binary(0x21, 0x41, Self.v4), Self.signature + [0x0A],
        ]
        for octets in texts.map({ Array($0.utf8) }) + binaries {
            #expect(ProxyHeader.parse(octets.span) == .invalid, "\(octets)")
        }
    }

    @Test func lengthIsBounded() {
        let text = Array("PROXY UNKNOWN \(String(repeating: "x", count: 92))".utf8)
        #expect(ProxyHeader.parse(text.span) == .tooLong)
        let binary = Self.binary(0x21, 0x11, [], length: 4081)
        #expect(ProxyHeader.parse(binary.span) == .tooLong)
        let nothing: [UInt8] = []
        #expect(ProxyHeader.parse(nothing.span) == .incomplete)
    }
}
