import Testing

@testable import ElemtaSMTP

@Suite("plainRun") struct PlainRunTests {
    /// What it stands for: one octet after the other.
    private func expected(_ octets: [UInt8], _ start: Int, _ end: Int) -> (Int, UInt8) {
        var seen: UInt8 = 0
        for position in start..<end {
            if [0, 10, 13].contains(octets[position]) { return (position, seen) }
            seen |= octets[position]
        }
        return (end, seen)
    }

    @Test("ends at the first CR, LF or NUL, whatever stands before and behind it")
    func firstSpecial() {
        var random = SystemRandomNumberGenerator()
        // Controls and octets above 127 are where eight at a time could go wrong.
        let alphabets: [[UInt8]] = [
            Array(0...255), Array(0...14), [1, 9, 0x7F, 0x80, 0x8D, 0xFF], [0x20, 0x0D],
            [0x80, 0x0A, 0x0E, 0x0D],
        ]
        for alphabet in alphabets {
            for _ in 0..<2_000 {
                let count = Int.random(in: 0...40, using: &random)
                let octets = (0..<count).map { _ in alphabet.randomElement(using: &random) ?? 0 }
                let start = Int.random(in: 0...count, using: &random)
                let end = Int.random(in: start...count, using: &random)
                var seen: UInt8 = 0
                let position = octets.span.plainRun(from: start, to: end, &seen)
                #expect(
                    (position, seen) == expected(octets, start, end), "\(octets) \(start)..<\(end)")
            }
        }
    }
}
