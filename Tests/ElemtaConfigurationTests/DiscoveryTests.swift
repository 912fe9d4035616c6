import Testing

@testable import ElemtaConfiguration

@Suite("Which file is read")
struct DiscoveryTests {
    private func find(
        _ explicit: String?, _ environment: [String: String], existing: Set<String>
    ) -> ConfigurationSource {
        .find(explicitPath: explicit, environment: environment) { existing.contains($0) }
    }

    @Test("the one that is named, whether it exists or not")
    func named() {
        let all = Set(ConfigurationSource.searchedPaths)
        #expect(find("a.yaml", ["ELEMTA_CONFIG": "b.yaml"], existing: all) == .file("a.yaml"))
        #expect(find(nil, ["ELEMTA_CONFIG": "b.yaml"], existing: all) == .file("b.yaml"))
        #expect(find(nil, ["ELEMTA_CONFIG": ""], existing: []) == .builtIn)
    }

    @Test("else the first that exists, in this order")
    func searched() {
        let order = [
            "./config/elemta.yaml", "./config/elemta.toml", "./elemta.yaml", "./elemta.toml",
            "/etc/elemta/elemta.yaml", "/etc/elemta/elemta.toml",
        ]
        for (index, path) in order.enumerated() {
            #expect(find(nil, [:], existing: Set(order[index...])) == .file(path))
        }
        #expect(find(nil, [:], existing: []) == .builtIn)
    }

    @Test("a named file that doesn't exist is an error")
    func missing() {
        let found = refusal { () throws(ConfigurationErrors) in
            try Configuration.load(explicitPath: "/nowhere/x.yaml", environment: [:])
        }
        #expect(found == "/nowhere/x.yaml: cannot be read: No such file or directory")
    }

    @Test("a name that tells no format is an error")
    func unknownFormat() {
        #expect(
            problems("", as: "elemta.conf") == [
                "elemta.conf: cannot tell its format; "
                    + "allowed: a name that ends in .yaml, .yml or .toml"
            ])
        #expect(problems("", as: "elemta.yml").isEmpty)
    }
}
