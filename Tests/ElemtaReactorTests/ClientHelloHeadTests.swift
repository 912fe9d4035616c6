import Testing

@testable import ElemtaReactor

@Suite struct ClientHelloHeadTests {
    /// A ClientHello that announces `length` octets, cut into records of `fragment` octets.
    private func hello(_ length: Int, fragment: Int) -> [UInt8] {
        let message: [UInt8] = [
            1, UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255),
        ]
        let body = message + [UInt8](repeating: 3, count: 40)
        return stride(from: 0, to: body.count, by: fragment).flatMap { start in
            let piece = body[start..<min(start + fragment, body.count)]
            return [22, 3, 1, 0, UInt8(piece.count)] + piece
        }
    }

    @Test("is known by as many octets as it takes, however they are cut", arguments: 1...44)
    func length(fragment: Int) {
        let octets = hello(70_000, fragment: fragment)
        let records = (4 + fragment - 1) / fragment
        let enough = 4 + 5 * records
        #expect(enough <= ClientHelloHead.maximumOctets)
        for count in 0...octets.count {
            let head = ClientHelloHead.parse(octets.span.extracting(..<count))
            #expect(head == (count < enough ? .incomplete : .length(70_000)))
        }
    }

    @Test(
        "is left to OpenSSL when it is no ClientHello",
        arguments: [
            [UInt8(ascii: "E")], Array("EHLO example.com\r\n".utf8),
            [22, 3, 1, 0, 0], [22, 3, 1, 0, 40, 2], [21, 3, 1, 0, 2, 2, 40],
            [22, 3, 1, 0, 1, 1, 23, 3, 1],
        ])
    func other(octets: [UInt8]) {
        #expect(ClientHelloHead.parse(octets.span) == .other)
    }
}
