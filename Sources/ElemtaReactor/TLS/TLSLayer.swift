/// What a connection knows about its TLS session besides what OpenSSL does.
final class TLSLayer {
    enum Progress {
        /// A server that has seen too little of the ClientHello to make a session for it.
        case awaitingHello
        case handshake
        case established
        /// close_notify is sent, or nobody is there to take it.
        case ended
    }

    // The longest first, and what most sessions have none of elsewhere: they are held by thousands.

    /// Not encrypted yet; nil when nothing is.
    private(set) var unencrypted: UnencryptedOutput?
    /// OpenSSL's callbacks use the contexts without owning them.
    let context: Context
    var progress: Progress
    /// Something was written since ``ConnectionEvent/drained`` was last told. TLS writes of itself,
    /// and its owner doesn't want to know.
    private var isDrainOwed: Bool

    enum Context {
        case server(TLSServerContext)
        case client(TLSClientContext)
    }

    init(_ context: Context, isDrainOwed: Bool) {
        self.context = context
        self.isDrainOwed = isDrainOwed
        progress =
            switch context {
            case .server: .awaitingHello
            case .client: .handshake
            }
    }

    /// Where to put what is to be encrypted.
    func output() -> UnencryptedOutput {
        if let unencrypted { return unencrypted }
        let made = UnencryptedOutput()
        unencrypted = made
        return made
    }

    /// Forgets what wasn't encrypted.
    func dropOutput() {
        unencrypted = nil
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
