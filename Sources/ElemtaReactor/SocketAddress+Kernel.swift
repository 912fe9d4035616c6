import Glibc

/// How the kernel writes addresses: `sockaddr_in`, `sockaddr_in6`, `sockaddr_un`.
extension SocketAddress {
    /// What `sun_path` holds besides its NUL.
    static let unixPathLimit = 107

    var family: Int32 {
        switch storage {
        case .v4: AF_INET
        case .v6: AF_INET6
        case .unix: AF_UNIX
        }
    }

    /// Lends the address as a `sockaddr`. Throws `ENAMETOOLONG` for a unix path over 107 octets:
    /// see ``UnixSocketPath``.
    @unsafe func withSockaddr<R>(
        _ operation: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
    ) throws(ReactorError) -> R {
        // Safe because `sockaddr` is the head that these three share, and each stays in place
        // while its pointer is lent.
        switch storage {
        case .v4(let address, let port):
            var raw = sockaddr_in()
            raw.sin_family = sa_family_t(AF_INET)
            raw.sin_port = port.bigEndian
            raw.sin_addr = in_addr(s_addr: address.bigEndian)
            return unsafe Self.lend(&raw, body)
        case .v6(let high, let low, let scope, let port):
            var raw = sockaddr_in6()
            raw.sin6_family = sa_family_t(AF_INET6)
            raw.sin6_port = port.bigEndian
            raw.sin6_addr = Self.octets(high: high, low: low)
            raw.sin6_scope_id = scope
            return unsafe Self.lend(&raw, body)
        case .unix(let path):
            let octets = Array(path.utf8)
            guard !octets.isEmpty, octets.count <= Self.unixPathLimit else {
                throw ReactorError(operation, code: ENAMETOOLONG)
            }
            var raw = sockaddr_un()
            raw.sun_family = sa_family_t(AF_UNIX)
            unsafe withUnsafeMutableBytes(of: &raw.sun_path) { unsafe $0.copyBytes(from: octets) }
            return unsafe Self.lend(&raw, body)
        }
    }

    @unsafe private static func lend<Raw, R>(
        _ raw: inout Raw, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
    ) -> R {
        unsafe withUnsafePointer(to: &raw) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { head in
                unsafe body(head, socklen_t(MemoryLayout<Raw>.size))
            }
        }
    }

    /// The address that a call like `accept4` or `getsockname` fills in, with what the call
    /// returned; no address when that was negative or the family is none of ours.
    @unsafe static func filled(
        by call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> (result: Int32, address: SocketAddress?) {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // Safe because sockaddr_storage is large and aligned enough for every family.
        let result = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { head in
                unsafe call(head, &length)
            }
        }
        guard result >= 0 else { return (result, nil) }
        return (result, SocketAddress(storage, length: Int(length)))
    }

    private init?(_ raw: sockaddr_storage, length: Int) {
        var raw = raw
        let family = Int32(raw.ss_family)
        // Safe because the kernel wrote the structure that its family says, and all of them fit
        // into sockaddr_storage, which is plain octets.
        let storage: Storage? = unsafe withUnsafeBytes(of: &raw) { octets in
            switch family {
            case AF_INET:
                let address = unsafe octets.loadUnaligned(as: sockaddr_in.self)
                return .v4(
                    UInt32(bigEndian: address.sin_addr.s_addr),
                    port: UInt16(bigEndian: address.sin_port))
            case AF_INET6:
                let address = unsafe octets.loadUnaligned(as: sockaddr_in6.self)
                let (high, low) = Self.halves(of: address.sin6_addr)
                return .v6(
                    high: high, low: low, scope: address.sin6_scope_id,
                    port: UInt16(bigEndian: address.sin6_port))
            case AF_UNIX:
                let start = MemoryLayout<sa_family_t>.size
                let path = unsafe octets[start..<max(start, min(length, octets.count))]
                let text = unsafe path.prefix { $0 != 0 }
                return unsafe .unix(path: String(decoding: text, as: UTF8.self))
            default:
                return nil
            }
        }
        guard let storage else { return nil }
        self.init(storage)
    }

    static func octets(high: UInt64, low: UInt64) -> in6_addr {
        var address = in6_addr()
        // Safe because in6_addr is sixteen plain octets.
        unsafe withUnsafeMutableBytes(of: &address) { octets in
            unsafe octets.storeBytes(of: high.bigEndian, as: UInt64.self)
            unsafe octets.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return address
    }

    static func halves(of address: in6_addr) -> (high: UInt64, low: UInt64) {
        // Safe because in6_addr is sixteen plain octets.
        unsafe withUnsafeBytes(of: address) { octets in
            unsafe (
                UInt64(bigEndian: octets.loadUnaligned(as: UInt64.self)),
                UInt64(bigEndian: octets.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            )
        }
    }
}
