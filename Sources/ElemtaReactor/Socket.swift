import CLibevent
import Glibc

/// Stream sockets, always non-blocking and close-on-exec.
enum Socket {
    static func make(_ family: Int32) throws(ReactorError) -> OwnedDescriptor {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(family, type, 0)
        guard number >= 0 else { throw .current("socket") }
        return OwnedDescriptor(taking: number)
    }

    /// One integer option. Failures are the caller's to judge: most options are a preference.
    @discardableResult
    static func set(
        _ level: Int32, _ option: Int32, to value: Int32 = 1, on descriptor: Int32
    ) -> Int32 {
        var value = value
        // Safe because `value` has the size that is told.
        return unsafe setsockopt(
            descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    /// The value of an integer option; nil when there is no such option here.
    static func option(
        _ option: Int32, at level: Int32 = SOL_SOCKET, of descriptor: Int32
    ) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        // Safe because `value` has the size that is told.
        return unsafe getsockopt(descriptor, level, option, &value, &length) == 0 ? value : nil
    }

    /// A reply is one write that nothing follows: waiting for an acknowledgement of the write
    /// before (Nagle) would only delay it. Does nothing to a unix-domain socket.
    static func setNoDelay(_ descriptor: Int32) {
        set(Int32(IPPROTO_TCP), TCP_NODELAY, on: descriptor)
    }

    static func bind(_ descriptor: Int32, to address: SocketAddress) throws(ReactorError) {
        // Safe because `bind` copies the address.
        let result = try unsafe address.withSockaddr("bind") { head, length in
            unsafe Glibc.bind(descriptor, head, length)
        }
        guard result == 0 else { throw .current("bind") }
    }

    /// Begins to connect; being under way is success.
    static func connect(_ descriptor: Int32, to address: SocketAddress) throws(ReactorError) {
        // Safe because `connect` copies the address.
        let result = try unsafe address.withSockaddr("connect") { head, length in
            unsafe Glibc.connect(descriptor, head, length)
        }
        guard result == 0 || errno == EINPROGRESS || errno == EINTR else {
            throw .current("connect")
        }
    }

    static func localAddress(_ descriptor: Int32) -> SocketAddress? {
        unsafe SocketAddress.filled { unsafe getsockname(descriptor, $0, $1) }.address
    }

    /// One attempt to send, without waiting and without SIGPIPE. What doesn't fit is lost.
    static func sendOnce(_ octets: [UInt8], on descriptor: Int32) {
        let flags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)
        // Safe because the array lives as long as the call.
        unsafe octets.withUnsafeBytes {
            _ = unsafe send(descriptor, $0.baseAddress, $0.count, flags)
        }
    }
}
