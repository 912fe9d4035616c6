import Glibc

/// Octets that are overwritten when the last reference to them goes: memory that was freed finds its
/// way into other buffers and into core dumps.
@safe final class SecretOctets: @unchecked Sendable {
    // Safe because it is filled in `init`, only read until `deinit`, and freed there. A NUL that
    // `count` leaves out ends it: C takes it as a string.
    private let memory: UnsafeMutablePointer<UInt8>
    let count: Int

    init(_ octets: some Collection<UInt8>) {
        count = octets.count
        unsafe memory = .allocate(capacity: count + 1)
        for (offset, octet) in octets.enumerated() { unsafe memory[offset] = octet }
        unsafe memory[count] = 0
    }

    init(_ octets: Span<UInt8>) {
        count = octets.count
        unsafe memory = .allocate(capacity: count + 1)
        for offset in octets.indices { unsafe memory[offset] = octets[offset] }
        unsafe memory[count] = 0
    }

    /// `first`, then `second`.
    init(_ first: SecretOctets, _ second: [UInt8]) {
        count = first.count + second.count
        unsafe memory = .allocate(capacity: count + 1)
        unsafe memory.update(from: first.memory, count: first.count)
        for (offset, octet) in second.enumerated() { unsafe memory[first.count + offset] = octet }
        unsafe memory[count] = 0
    }

    deinit {
        unsafe explicit_bzero(memory, count + 1)
        unsafe memory.deallocate()
    }

    func contains(_ octet: UInt8) -> Bool {
        unsafe withUnsafeBytes { unsafe $0.contains(octet) }
    }

    /// Lends them, without the NUL that follows them.
    func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeRawBufferPointer(start: memory, count: count))
    }

    /// Lends them as a C string, which ends at the first NUL among them.
    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        // Safe because the NUL is there and CChar has the size of an octet.
        unsafe memory.withMemoryRebound(to: CChar.self, capacity: count + 1) { text in
            unsafe body(text)
        }
    }
}
