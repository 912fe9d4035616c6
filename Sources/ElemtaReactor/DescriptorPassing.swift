import CLibevent
import Glibc

/// Descriptors on their way from one process to another, over a unix-domain stream socket
/// (unix(7), `SCM_RIGHTS`): each message is one octet, and the descriptors that go with it.
enum DescriptorPassing {
    /// In one message; the kernel takes 253 (`SCM_MAX_FD`).
    static let mostInOneMessage = 64
    /// More follow, or not.
    static let more = UInt8(ascii: "+")
    static let last = UInt8(ascii: ".")

    // The macros of cmsg(3), which Swift can't call: a header, padded to the size of a word, and
    // then the descriptors.
    private static let headerSize = aligned(MemoryLayout<cmsghdr>.size)
    private static let rights: Int32 = 1
    private static func aligned(_ count: Int) -> Int {
        let word = MemoryLayout<Int>.size
        return (count + word - 1) / word * word
    }

    static func send(_ octet: UInt8, _ numbers: [Int32], over socket: Int32) throws(ReactorError) {
        let length = headerSize + numbers.count * MemoryLayout<Int32>.size
        var control = [UInt8](repeating: 0, count: aligned(length))
        // Safe because everything is stored within the array, which lives as long as the call.
        let count = unsafe control.withUnsafeMutableBytes { buffer in
            unsafe buffer.storeBytes(of: length, as: Int.self)
            let level = MemoryLayout<Int>.size
            unsafe buffer.storeBytes(of: SOL_SOCKET, toByteOffset: level, as: Int32.self)
            unsafe buffer.storeBytes(of: rights, toByteOffset: level + 4, as: Int32.self)
            for (index, number) in numbers.enumerated() {
                unsafe buffer.storeBytes(
                    of: number, toByteOffset: headerSize + index * 4, as: Int32.self)
            }
            return unsafe exchange(octet, buffer) { message, _ in
                unsafe sendmsg(socket, &message, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            }
        }
        guard count == 1 else { throw .current("sendmsg") }
    }

    /// The next octet, with what came with it. Blocks. Nil at the end of the stream.
    static func receive(
        over socket: Int32
    ) throws(ReactorError) -> (octet: UInt8, numbers: [Int32])? {
        let space = headerSize + mostInOneMessage * MemoryLayout<Int32>.size
        var control = [UInt8](repeating: 0, count: aligned(space))
        var octet: UInt8 = 0
        var numbers: [Int32] = []
        // Safe because the kernel writes no more than it is told there is room for, and the numbers
        // are read from within that.
        let count = unsafe control.withUnsafeMutableBytes { buffer in
            let count = unsafe exchange(0, buffer) { message, received in
                let count = unsafe recvmsg(socket, &message, Int32(MSG_CMSG_CLOEXEC))
                unsafe octet = received.pointee
                return count
            }
            guard count == 1 else { return count }
            let length = unsafe buffer.loadUnaligned(as: Int.self)
            let kind = unsafe buffer.loadUnaligned(
                fromByteOffset: MemoryLayout<Int>.size + 4, as: Int32.self)
            guard kind == rights, length <= buffer.count else { return count }
            for offset in stride(from: headerSize, to: length, by: 4) {
                numbers.append(
                    unsafe buffer.loadUnaligned(fromByteOffset: offset, as: Int32.self))
            }
            return count
        }
        if count == 0 { return nil }
        guard count == 1 else { throw .current("recvmsg") }
        return (octet, numbers)
    }

    /// Calls `body` with a message of one octet and room for what goes with it, again where a signal
    /// came in between.
    private static func exchange(
        _ octet: UInt8, _ control: UnsafeMutableRawBufferPointer,
        _ body: (inout msghdr, UnsafeMutablePointer<UInt8>) -> Int
    ) -> Int {
        var octet = octet
        return unsafe withUnsafeMutablePointer(to: &octet) { octet in
            var piece = unsafe iovec(iov_base: octet, iov_len: 1)
            return unsafe withUnsafeMutablePointer(to: &piece) { piece in
                while true {
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = piece
                    unsafe message.msg_iovlen = 1
                    unsafe message.msg_control = control.baseAddress
                    unsafe message.msg_controllen = control.count
                    let count = unsafe body(&message, octet)
                    if count < 0, errno == EINTR { continue }
                    return count
                }
            }
        }
    }
}

extension Connection {
    /// Gives the process at the other end of a unix-domain socket these listening sockets as well:
    /// whoever connects waits for whichever of both accepts. Nothing may be unsent.
    ///
    /// Throws what sendmsg(2) throws, `EAGAIN` when the peer doesn't read.
    public func give(_ sockets: [ListeningSocket]) throws(ReactorError) {
        guard let number = stream?.descriptor, unsentCount == 0 else {
            throw ReactorError("sendmsg", code: EBUSY)
        }
        var rest = sockets[...]
        repeat {
            let batch = rest.prefix(DescriptorPassing.mostInOneMessage)
            rest = rest.dropFirst(batch.count)
            try DescriptorPassing.send(
                rest.isEmpty ? DescriptorPassing.last : DescriptorPassing.more,
                batch.map { $0.descriptor.number }, over: number)
        } while !rest.isEmpty
    }

    /// The user who had the process at the other end of a unix-domain socket when it connected
    /// (unix(7), `SO_PEERCRED`); nil for any other socket.
    public var peerUser: UInt32? {
        guard let number = stream?.descriptor else { return nil }
        // The process, the user and the group.
        var credentials: (Int32, UInt32, UInt32) = (0, .max, .max)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        // Safe because `credentials` has the size that is told.
        let result = unsafe getsockopt(number, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
        guard result == 0, credentials.1 != .max else { return nil }
        return credentials.1
    }
}

extension ListeningSocket {
    /// What came of asking for somebody's sockets.
    public enum Receipt {
        case sockets([ListeningSocket])
        /// The peer has sent this octet instead.
        case other(UInt8)
        /// It has gone.
        case ended
    }

    /// Takes what ``Connection/give(_:)`` gives, at the other end of that connection. Blocks.
    ///
    /// Their backlogs become as long as the kernel allows: whoever comes while one process goes and
    /// the next isn't there yet waits in them. Throws `EINVAL` for a descriptor that is no listening
    /// socket of IPv4 or IPv6, and what recvmsg(2) throws.
    public static func receive(over descriptor: Int32) throws(ReactorError) -> Receipt {
        var sockets: [ListeningSocket] = []
        while true {
            guard let (octet, numbers) = try DescriptorPassing.receive(over: descriptor) else {
                return .ended
            }
            // All are owned before one of them can be found wanting.
            let adopted = numbers.map { number in
                Result { () throws(ReactorError) in
                    try ListeningSocket(adopting: OwnedDescriptor(taking: number))
                }
            }
            for socket in adopted {
                let socket = try socket.get()
                Glibc.listen(socket.descriptor.number, 65_535)
                sockets.append(socket)
            }
            switch octet {
            case DescriptorPassing.more: continue
            case DescriptorPassing.last: return .sockets(sockets)
            default: return .other(octet)
            }
        }
    }
}
