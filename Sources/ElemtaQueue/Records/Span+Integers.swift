import Glibc

extension Span where Element == UInt8 {
    /// The integer stored little-endian at `offset`. Traps beyond the end, as subscripts do.
    func littleEndian<Value: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as type: Value.Type
    ) -> Value {
        // The range check is extracting's.
        let part = extracting(offset..<offset + MemoryLayout<Value>.size)
        // Safe because `part` has exactly the octets that are loaded.
        return unsafe part.withUnsafeBytes { octets in
            unsafe Value(littleEndian: octets.loadUnaligned(as: Value.self))
        }
    }

    /// A copy of the octets.
    var copied: [UInt8] {
        // Safe because the array copies what the buffer lends.
        unsafe withUnsafeBufferPointer { unsafe [UInt8]($0) }
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Stores the integer little-endian at `offset`.
    func storeLittleEndian<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, at offset: Int
    ) {
        unsafe storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }

    /// Copies `octets` to `offset`; the caller has made sure that they fit.
    func copy(_ octets: Span<UInt8>, at offset: Int) {
        guard !octets.isEmpty else { return }
        precondition(offset >= 0 && offset + octets.count <= count)
        // Safe because of the check above, and because a borrowed span can't overlap a buffer
        // that is being filled.
        unsafe octets.withUnsafeBytes { source in
            guard let from = source.baseAddress, let to = baseAddress else { return }
            unsafe memcpy(to + offset, from, source.count)
        }
    }
}
