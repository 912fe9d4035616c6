/// Builds a payload in a buffer that is kept from record to record, so that the hot path allocates
/// nothing. Integers are variable-length (LEB128), strings are preceded by their length.
struct OctetWriter {
    private(set) var octets: [UInt8] = []

    var count: Int { octets.count }

    mutating func reset() { octets.removeAll(keepingCapacity: true) }

    /// Takes back what was put behind the first `count` octets.
    mutating func shorten(to count: Int) { octets.removeLast(octets.count - count) }

    mutating func put(octet: UInt8) { octets.append(octet) }

    mutating func put(_ value: UInt64) {
        var rest = value
        while rest > 0x7F {
            octets.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        octets.append(UInt8(rest))
    }

    mutating func put(_ value: Int64) { put(UInt64(bitPattern: value)) }

    mutating func put(_ value: [UInt8]) {
        put(UInt64(value.count))
        octets.append(contentsOf: value)
    }

    mutating func put(_ value: String) {
        put(UInt64(value.utf8.count))
        octets.append(contentsOf: value.utf8)
    }

    /// The octets alone, without a length before them.
    mutating func append(_ run: Span<UInt8>) {
        // Safe because the array copies what the buffer lends.
        unsafe run.withUnsafeBufferPointer { unsafe octets.append(contentsOf: $0) }
    }

    mutating func appendLittleEndian(_ value: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) {
            octets.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func appendZeros(_ count: Int) {
        octets.append(contentsOf: repeatElement(0, count: count))
    }

    /// Lends everything there is, to be changed in place.
    mutating func withOctets(_ body: (UnsafeMutableRawBufferPointer) -> Void) {
        unsafe octets.withUnsafeMutableBytes { unsafe body($0) }
    }
}

/// Reads what an `OctetWriter` wrote. Whatever the octets are, reading never traps: what isn't
/// there is `RecordDamage.malformed`, naming the field.
@safe struct OctetReader: ~Copyable {
    // Safe because a reader exists only inside `reading`, whose span outlives it, and every access
    // is checked against `count` first.
    private let octets: UnsafeBufferPointer<UInt8>
    private(set) var position = 0

    private init(_ octets: UnsafeBufferPointer<UInt8>) {
        unsafe self.octets = octets
    }

    /// Lends `body` a reader over `octets`.
    static func reading<R>(
        _ octets: Span<UInt8>, _ body: (inout OctetReader) throws(RecordDamage) -> R
    ) throws(RecordDamage) -> R {
        try unsafe octets.withUnsafeBufferPointer { (buffer) throws(RecordDamage) -> R in
            var reader = unsafe OctetReader(buffer)
            return try body(&reader)
        }
    }

    var remaining: Int { unsafe octets.count - position }

    mutating func skip(_ count: Int) { position += min(count, remaining) }

    mutating func octet(_ field: StaticString) throws(RecordDamage) -> UInt8 {
        guard remaining > 0 else { throw .malformed("\(field)") }
        defer { position += 1 }
        return unsafe octets[position]
    }

    mutating func integer(_ field: StaticString) throws(RecordDamage) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let next = try octet(field)
            // The tenth octet holds the last of 64 bits.
            guard shift < 63 || next <= 1 else { throw .malformed("\(field)") }
            value |= UInt64(next & 0x7F) << shift
            if next < 0x80 { return value }
            shift += 7
        }
    }

    mutating func integer32(_ field: StaticString) throws(RecordDamage) -> UInt32 {
        guard let value = UInt32(exactly: try integer(field)) else {
            throw .malformed("\(field)")
        }
        return value
    }

    mutating func signed(_ field: StaticString) throws(RecordDamage) -> Int64 {
        Int64(bitPattern: try integer(field))
    }

    mutating func string(_ field: StaticString) throws(RecordDamage) -> [UInt8] {
        let length = try integer(field)
        guard length <= UInt64(remaining) else { throw .malformed("\(field)") }
        let end = position + Int(length)
        defer { position = end }
        return unsafe Array(octets[position..<end])
    }

    mutating func text(_ field: StaticString) throws(RecordDamage) -> String {
        String(decoding: try string(field), as: UTF8.self)
    }
}
