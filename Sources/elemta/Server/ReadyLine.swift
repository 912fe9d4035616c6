import ElemtaConfiguration
import ElemtaReactor
import Logging

/// What an operator wants to know in the first second: the fields of the `ready` line.
enum ReadyLine {
    static func addresses(of server: Server) -> String {
        server.listeners.map { "\($0.boundAddress)" }.joined(separator: ",")
    }

    static func metadata(of server: Server) -> Logger.Metadata {
        let domains = server.configuration.localDomains.map(\.description).joined(separator: ",")
        var fields = server.messages.readyFields
        if let monitoring = server.monitoring {
            let addresses = monitoring.boundAddresses.map(\.description)
            fields["http"] = "\(addresses.joined(separator: ","))"
        }
        return [
            "listeners": "\(addresses(of: server))",
            "hostname": "\(server.configuration.hostname)",
            "may_relay": "\(server.relays)",
            "local_domains": "\(domains)",
            "max_connections": "\(server.limits.maximum)",
        ].merging(fields) { first, _ in first }
    }
}
