/// XXH64 (the xxHash specification, 64-bit variant) over a run of octets.
///
/// It finds damage, not malice. Chosen because it runs at memory speed without special
/// instructions; a chain over blocks passes the sum so far as the next block's seed.
enum Checksum {
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    static func of(_ octets: Span<UInt8>, seed: UInt64 = 0) -> UInt64 {
        // Safe because the buffer is only read inside the closure.
        unsafe octets.withUnsafeBytes { unsafe of($0, seed: seed) }
    }

    @unsafe static func of(_ octets: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        var position = 0
        let count = octets.count
        var sum: UInt64
        if count >= 32 {
            var lane1 = seed &+ prime1 &+ prime2
            var lane2 = seed &+ prime2
            var lane3 = seed
            var lane4 = seed &- prime1
            while position + 32 <= count {
                lane1 = unsafe round(lane1, octets.word(at: position))
                lane2 = unsafe round(lane2, octets.word(at: position + 8))
                lane3 = unsafe round(lane3, octets.word(at: position + 16))
                lane4 = unsafe round(lane4, octets.word(at: position + 24))
                position += 32
            }
            sum = rotate(lane1, 1) &+ rotate(lane2, 7) &+ rotate(lane3, 12) &+ rotate(lane4, 18)
            sum = merge(merge(merge(merge(sum, lane1), lane2), lane3), lane4)
        } else {
            sum = seed &+ prime5
        }
        sum = sum &+ UInt64(count)
        while position + 8 <= count {
            sum ^= unsafe round(0, octets.word(at: position))
            sum = rotate(sum, 27) &* prime1 &+ prime4
            position += 8
        }
        if position + 4 <= count {
            let half = unsafe octets.loadUnaligned(fromByteOffset: position, as: UInt32.self)
            sum ^= UInt64(UInt32(littleEndian: half)) &* prime1
            sum = rotate(sum, 23) &* prime2 &+ prime3
            position += 4
        }
        while position < count {
            sum ^= unsafe UInt64(octets[position]) &* prime5
            sum = rotate(sum, 11) &* prime1
            position += 1
        }
        sum = (sum ^ (sum >> 33)) &* prime2
        sum = (sum ^ (sum >> 29)) &* prime3
        return sum ^ (sum >> 32)
    }

    @inline(__always)
    private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotate(lane &+ input &* prime2, 31) &* prime1
    }

    @inline(__always)
    private static func merge(_ sum: UInt64, _ lane: UInt64) -> UInt64 {
        (sum ^ round(0, lane)) &* prime1 &+ prime4
    }

    @inline(__always)
    private static func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 {
        value &<< bits | value &>> (64 &- bits)
    }
}

extension UnsafeRawBufferPointer {
    @inline(__always)
    fileprivate func word(at position: Int) -> UInt64 {
        unsafe UInt64(littleEndian: loadUnaligned(fromByteOffset: position, as: UInt64.self))
    }
}
