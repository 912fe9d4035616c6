import Testing

@testable import ElemtaConfiguration

@Test func anEmptyFileIsAllDefaults() throws {
    let loaded = try Configuration.read([], from: .file("elemta.yaml"))
    #expect(loaded.configuration.listeners == [.init(address: .init(port: 2525))])
    #expect(loaded.warnings.isEmpty)
}
