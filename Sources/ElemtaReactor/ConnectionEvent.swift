/// What happens to a connection.
public enum ConnectionEvent: Sendable {
    /// An outbound connection stands.
    case connected
    /// The handshake that ``Connection/startTLS(server:isInputEncrypted:)`` or ``Connection/startTLS(client:name:)``
    /// began is done; ``Connection/tls`` says with what result.
    case tlsEstablished
    /// Octets are in the input.
    case readable
    /// The last octet written went to the kernel.
    case drained
    /// There were more unsent octets than ``Connection/unsentLimit``; now there aren't.
    case unsentBelowLimit
    /// The peer sends no more; everything it sent was there to be read before. It may still read.
    /// Under TLS a peer that closed without saying so first isn't told apart: many do, and a protocol
    /// that says how long each thing is loses nothing by it.
    case closedByPeer
    /// The connection broke, could not be made, or wasn't made in time (`ETIMEDOUT`). It is closed:
    /// nothing more happens.
    case failed(ReactorError)
    /// What ``Connection/closeAfterFlush()`` began is done, well or badly. Nothing more happens.
    case closed
}

/// Who is told what happens to a connection, on the loop's thread.
public protocol ConnectionDelegate: AnyObject {
    /// May do anything with `connection`, also close and release it.
    func connection(_ connection: Connection, happened event: ConnectionEvent)
}
