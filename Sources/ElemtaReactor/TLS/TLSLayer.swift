/// What a connection knows about its TLS session besides what OpenSSL does.
final class TLSLayer {
    enum Progress {
        case handshake
        case established
        /// close_notify is sent, or nobody is there to take it.
        case ended
    }

    var progress = Progress.handshake
    var unencrypted = UnencryptedOutput()
    /// Something was written since ``ConnectionEvent/drained`` was last told. TLS writes of itself,
    /// and its owner doesn't want to know.
    private var isDrainOwed: Bool

    /// OpenSSL's callbacks use the contexts without owning them.
    private let context: Context

    enum Context {
        case server(TLSServerContext)
        case client(TLSClientContext)
    }

    init(_ context: Context, isDrainOwed: Bool) {
        self.context = context
        self.isDrainOwed = isDrainOwed
    }

    func oweDrain() {
        isDrainOwed = true
    }

    func takeDrainOwed() -> Bool {
        defer { isDrainOwed = false }
        return isDrainOwed
    }

    /// A peer that can't show who it is fails the handshake.
    var requiresVerification: Bool {
        switch context {
        case .client(let context): context.policy == .required
        case .server: false
        }
    }
}
