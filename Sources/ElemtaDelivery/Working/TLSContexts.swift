import ElemtaReactor
import ElemtaSMTP

/// What TLS sessions of all workers begin with; read from disk once.
struct TLSContexts: Sendable {
    private let opportunistic: TLSClientContext
    private let required: TLSClientContext

    init(_ authorities: TLSClientContext.Authorities) throws(DeliveryError) {
        do throws(TLSContextError) {
            opportunistic = try TLSClientContext(.opportunistic, authorities: authorities)
            required = try TLSClientContext(.required, authorities: authorities)
        } catch {
            throw .tls(error)
        }
    }

    func context(for policy: ClientTLSPolicy) -> TLSClientContext {
        switch policy {
        case .off, .opportunistic: opportunistic
        case .required, .requireTLS: required
        }
    }
}
