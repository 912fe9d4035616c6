import ArgumentParser
import ElemtaConfiguration

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Validate the configuration and print what would run.",
        discussion: "Prints every error, not only the first; exit status 78 when there is one.")

    @OptionGroup var options: ConfigurationOptions

    func run() throws {
        let loaded = try options.load()
        let configuration = loaded.configuration
        let relays = HostNetworks.Relays(configuration)
        print("configuration  \(loaded.source)")
        print("hostname       \(configuration.hostname)")
        for listener in configuration.listeners { print("listen         \(listener.address)") }
        print("queue          \(configuration.queueDir)")
        let domains = configuration.localDomains.map(\.description).joined(separator: ", ")
        print("local domains  \(domains.isEmpty ? "none" : domains)")
        print("may relay      \(relays.description.isEmpty ? "nobody" : relays.description)")
        for route in configuration.delivery.routes {
            print("route          \(route.domain) -> \(route.deliver)")
        }
        let fallback = configuration.delivery.relayHost.map { "relay host \($0)" } ?? "mx"
        print("everything else -> \(fallback)")
        print("ok")
    }
}
