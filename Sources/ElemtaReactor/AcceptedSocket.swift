import Glibc

/// A connection that a ``Listener`` accepted and nobody reads yet. Closed unless it is made into a
/// ``Connection``.
public struct AcceptedSocket: ~Copyable, Sendable {
    let descriptor: OwnedDescriptor
    /// The peer.
    public let remoteAddress: SocketAddress

    /// `descriptor` is a connected, non-blocking stream socket.
    public init(_ descriptor: consuming OwnedDescriptor, remoteAddress: SocketAddress) {
        self.descriptor = descriptor
        self.remoteAddress = remoteAddress
    }

    /// Sends `octets`, as far as the kernel takes them at once, and closes: for a peer that is told
    /// that there is no room.
    public consuming func refuse(with octets: [UInt8]) {
        Socket.sendOnce(octets, on: descriptor.number)
    }
}
