/// What stands in front of a connection that a load balancer passes on: HAProxy's PROXY protocol,
/// version 1 (text) and 2 (binary). It comes before anything else, the TLS handshake too.
public struct ProxyHeader: Hashable, Sendable {
    /// An address and a port.
    public struct Endpoint: Hashable, Sendable {
        public let address: IPAddress
        public let port: UInt16

        public init(address: IPAddress, port: UInt16) {
            self.address = address
            self.port = port
        }
    }

    public enum Origin: Hashable, Sendable {
        /// The balancer itself, for a health check. It speaks for nobody and has no rights.
        case balancer
        /// The balancer doesn't know, or the client came by no IP (UNKNOWN, UNSPEC, AF_UNIX).
        case unknown
        /// IPv4-mapped addresses are IPv4 here.
        case client(Endpoint, destination: Endpoint)
    }

    public let origin: Origin
    /// Octets to take away before the session begins.
    public let length: Int

    public enum Result: Hashable, Sendable {
        /// All that is there may become a header: wait for more.
        case incomplete
        case header(ProxyHeader)
        /// This is no header, or none that is understood: close the connection.
        case invalid
        /// It is longer than any honest one: close the connection.
        case tooLong
    }

    /// The longest line of version 1 with its CRLF, section 2.1 of the specification, octets.
    static let maximumTextLength = 107
    /// The longest header of version 2 that is read, octets. The addresses take 52 of them; the rest
    /// is for TLVs, which are skipped.
    static let maximumBinaryLength = 4096
    /// The most octets that need to be contiguous at the front of the input.
    public static let maximumLength = maximumBinaryLength

    /// Reads the front of `input`, which holds everything that has come so far.
    public static func parse(_ input: Span<UInt8>) -> Result {
        guard let first = input.octet(at: 0) else { return .incomplete }
        return first == UInt8(ascii: "P") ? text(input) : binary(input)
    }

    // MARK: Version 1

    private static let textStart = Array("PROXY ".utf8)

    private static func text(_ input: Span<UInt8>) -> Result {
        for (index, octet) in textStart.enumerated() {
            guard let found = input.octet(at: index) else { return .incomplete }
            guard found == octet else { return .invalid }
        }
        var end = textStart.count
        while let octet = input.octet(at: end), octet != .carriageReturn, octet != .lineFeed {
            guard octet.isPrintable else { return .invalid }
            end += 1
            // Its CRLF would be beyond the limit.
            if end + 2 > maximumTextLength { return .tooLong }
        }
        guard let carriageReturn = input.octet(at: end) else { return .incomplete }
        guard carriageReturn == .carriageReturn else { return .invalid }
        guard let lineFeed = input.octet(at: end + 1) else { return .incomplete }
        guard lineFeed == .lineFeed,
            let origin = textOrigin(input.extracting(textStart.count..<end))
        else { return .invalid }
        return .header(ProxyHeader(origin: origin, length: end + 2))
    }

    /// `UNKNOWN` and whatever follows it, or
    /// `("TCP4" / "TCP6") SP source SP destination SP source-port SP destination-port`.
    private static func textOrigin(_ text: Span<UInt8>) -> Origin? {
        var words: [Range<Int>] = []
        var start = 0
        for position in 0...text.count where position == text.count || text[position] == .space {
            words.append(start..<position)
            start = position + 1
        }
        let family = text.octets(words[0])
        if family == Array("UNKNOWN".utf8) { return .unknown }
        guard words.count == 5,
            family == Array("TCP4".utf8) || family == Array("TCP6".utf8)
        else { return nil }
        let isV4 = family[3] == UInt8(ascii: "4")
        guard let source = endpoint(text, words[1], words[3], isV4: isV4),
            let destination = endpoint(text, words[2], words[4], isV4: isV4)
        else { return nil }
        return .client(source, destination: destination)
    }

    private static func endpoint(
        _ text: Span<UInt8>, _ address: Range<Int>, _ port: Range<Int>, isV4: Bool
    ) -> Endpoint? {
        guard let address = IPAddress(octets: text.extracting(address)), address.isV4 == isV4,
            port.count == 1 || text.octet(at: port.lowerBound) != UInt8(ascii: "0"),
            let (value, end) = Grammar.number(text, port.lowerBound), end == port.upperBound,
            let port = UInt16(exactly: value)
        else { return nil }
        return Endpoint(address: address.unmapped, port: port)
    }

    // MARK: Version 2

    private static let binaryStart: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]
    /// Signature, version and command, family and protocol, length: octets.
    private static let fixedLength = 16

    private static func binary(_ input: Span<UInt8>) -> Result {
        for (index, octet) in binaryStart.enumerated() {
            guard let found = input.octet(at: index) else { return .incomplete }
            guard found == octet else { return .invalid }
        }
        guard let command = input.octet(at: 12) else { return .incomplete }
        guard command == 0x20 || command == 0x21 else { return .invalid }
        guard input.count >= fixedLength else { return .incomplete }
        let length = fixedLength + Int(integer(input, 14, count: 2))
        guard length <= maximumBinaryLength else { return .tooLong }
        guard input.count >= length else { return .incomplete }
        let origin =
            command == 0x20
            ? Origin.balancer
            : binaryOrigin(input[13], input.extracting(fixedLength..<length))
        guard let origin else { return .invalid }
        return .header(ProxyHeader(origin: origin, length: length))
    }

    /// Addresses and ports in network order; behind them TLVs may stand.
    private static func binaryOrigin(_ family: UInt8, _ octets: Span<UInt8>) -> Origin? {
        switch family {
        case 0x00, 0x31:
            return .unknown
        case 0x11 where octets.count >= 12:
            return .client(v4(octets, 0, port: 8), destination: v4(octets, 4, port: 10))
        case 0x21 where octets.count >= 36:
            return .client(v6(octets, 0, port: 32), destination: v6(octets, 16, port: 34))
        default:
            // Datagrams, AF_UNIX datagrams and what isn't assigned: no SMTP comes that way.
            return nil
        }
    }

    private static func v4(_ octets: Span<UInt8>, _ start: Int, port: Int) -> Endpoint {
        Endpoint(
            address: IPAddress(v4: UInt32(truncatingIfNeeded: integer(octets, start, count: 4))),
            port: UInt16(truncatingIfNeeded: integer(octets, port, count: 2)))
    }

    private static func v6(_ octets: Span<UInt8>, _ start: Int, port: Int) -> Endpoint {
        let address = IPAddress(
            v6High: integer(octets, start, count: 8), v6Low: integer(octets, start + 8, count: 8))
        return Endpoint(
            address: address.unmapped,
            port: UInt16(truncatingIfNeeded: integer(octets, port, count: 2)))
    }

    private static func integer(_ octets: Span<UInt8>, _ start: Int, count: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in start..<(start + count) { value = value << 8 | UInt64(octets[index]) }
        return value
    }
}
