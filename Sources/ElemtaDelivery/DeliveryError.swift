public import ElemtaReactor
public import ElemtaThreads

/// Why delivery could not be started. None of these happens later: what goes wrong with a message
/// is a `RecipientResult`.
public enum DeliveryError: Error, Equatable, CustomStringConvertible {
    case thread(ThreadError)
    case reactor(ReactorError)
    /// libunbound refused a setting or could not begin.
    case resolver(String)
    /// An entry of `delivery.dns_servers` is no address.
    case dnsServer(String)
    /// What servers are verified by can't be read.
    case tls(TLSContextError)

    public var description: String {
        switch self {
        case .thread(let error): "delivery: \(error)"
        case .reactor(let error): "delivery: \(error)"
        case .resolver(let what): "delivery: DNS resolver: \(what)"
        case .dnsServer(let text): "delivery.dns_servers: \"\(text)\" is no address"
        case .tls(let error): "delivery: TLS: \(error)"
        }
    }
}
