import ElemtaConfiguration
import Glibc
import Testing

@testable import elemta

@Suite("Features that aren't built") struct UnbuiltFeaturesTests {
    /// What the configuration `yaml` makes the start fail with.
    private func complaints(_ yaml: String) throws -> [String] {
        let path = "/tmp/elemta-unbuilt-\(UInt64.random(in: 0...UInt64.max)).yaml"
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        defer {
            close(descriptor)
            unsafe unlink(path)
        }
        try #require(Descriptors.writeAll(Array(yaml.utf8), to: descriptor))
        let loaded = try Configuration.load(explicitPath: path, environment: [:])
        return UnbuiltFeatures.complaints(about: loaded.configuration)
    }

    @Test("the defaults ask for nothing that isn't there")
    func defaults() throws {
        let loaded = try Configuration.load(
            explicitPath: nil, environment: ["ELEMTA_CONFIG": ""])
        #expect(UnbuiltFeatures.complaints(about: loaded.configuration).isEmpty)
    }

    @Test(
        "a feature that somebody switches on and that isn't built is named by its key",
        arguments: [
            ("http: {listen_addr: \"127.0.0.1:8080\"}", "http.listen_addr")
        ])
    func features(yaml: String, key: String) throws {
        let complaints = try complaints(yaml)
        #expect(complaints.contains { $0.hasPrefix("\(key) is set") }, "\(complaints)")
    }
}
