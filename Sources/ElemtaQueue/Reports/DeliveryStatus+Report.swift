import ElemtaSMTP

extension DeliveryStatus {
    /// Whether these are the words of another server, and not our own about it.
    var isQuoted: Bool { code > 0 }

    /// The server that has reported this, as RFC 3464 2.3.5 wants it with the type "dns": a domain
    /// name or an address literal, no port and nothing beside it. Nil where no server has.
    var remoteMTA: String? {
        guard isQuoted, let name = nextHop.split(separator: " ").first else { return nil }
        if name.hasPrefix("[") {
            let inner = name.dropFirst().prefix { $0 != "]" }
            let address = inner.hasPrefix("IPv6:") ? inner.dropFirst(5) : inner
            return IPAddress(String(address))?.addressLiteral
        }
        let host = String(name.prefix { $0 != ":" })
        if let address = IPAddress(host) { return address.addressLiteral }
        guard let domain = Domain(host), !domain.isInternationalized else { return nil }
        return "\(domain)"
    }
}
