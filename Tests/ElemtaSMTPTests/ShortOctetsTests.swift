import Testing

@testable import ElemtaSMTP

@Suite("ShortOctets") struct ShortOctetsTests {
    @Test(
        "gives back what it was given, however long", arguments: [0, 1, 21, 22, 23, 255, 256, 1000])
    func kept(count: Int) {
        let octets = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(ShortOctets(octets).octets == octets)
        #expect(MemoryLayout<ShortOctets>.size <= 24)
    }
}
