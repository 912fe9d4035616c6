import ElemtaConfiguration
import ElemtaReactor
import Glibc
import Logging

/// What an operator wants to know in the first second: the fields of the `ready` line, and at a
/// terminal the same in words.
enum ReadyLine {
    static func addresses(of server: Server) -> String {
        server.listeners.map { "\($0.boundAddress)" }.joined(separator: ",")
    }

    static func metadata(of server: Server) -> LogFields {
        var fields: LogFields = [
            .listeners: "\(addresses(of: server))",
            .hostname: "\(server.configuration.hostname)",
            .mayRelay: "\(server.relays)",
            .localDomains: "\(domains(of: server, separator: ","))",
            .off: "\(off(server.configuration).map(\.key).joined(separator: ","))",
            .maxConnections: "\(server.limits.maximum)",
            .descriptors: "\(server.descriptorLimit)",
        ]
        if let http = http(of: server) { fields[.http] = "\(http)" }
        return fields.adding(server.messages.readyFields)
    }

    private static func http(of server: Server) -> String? {
        server.monitoring?.boundAddresses.map(\.description).joined(separator: ",")
    }

    /// Five lines for people.
    static func words(of server: Server) -> String {
        let domains = domains(of: server, separator: ", ")
        let off = off(server.configuration).map { "\($0.name) (\($0.key))" }
        let queue = server.messages.readyFields[.queue].map { "\($0)" } ?? ""
        return """
            Listening on:  \(server.listeners.map { "\($0.boundAddress)" }.joined(separator: ", ")) \
            as \(server.configuration.hostname)\(http(of: server).map { ", metrics on \($0)" } ?? "")
            Queue:         \(queue)
            May relay:     \(server.relays)\(server.logins == nil ? "" : ", and who has logged in")
            Local domains: \(domains.isEmpty ? "none (local_domains)" : domains)
            Off:           \(off.isEmpty ? "nothing" : off.joined(separator: ", "))

            """
    }

    /// Whether standard output is read by a person.
    static var isForPeople: Bool { isatty(Descriptors.standardOutput) == 1 }

    private static func domains(of server: Server, separator: String) -> String {
        server.configuration.localDomains.map(\.description).joined(separator: separator)
    }

    /// What isn't there unless somebody sets it up, with the key that does.
    private static func off(_ configuration: Configuration) -> [(name: String, key: String)] {
        var off: [(name: String, key: String)] = []
        if !configuration.tls.enabled { off.append(("TLS", "tls.enabled")) }
        if !configuration.auth.enabled { off.append(("authentication", "auth.enabled")) }
        if configuration.http.listenAddr == nil {
            off.append(("metrics", "http.listen_addr"))
        }
        return off
    }
}
