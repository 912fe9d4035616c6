import ElemtaReactor
import Testing

@Suite("SocketAddress") struct SocketAddressTests {
    @Test(
        "addresses are read and written the same",
        arguments: [
            "127.0.0.1:25", "0.0.0.0:65535", "[::1]:25", "[::]:0", "[2001:db8::1]:2525",
            "[fe80::1%7]:25", "/run/elemta/control.sock", "./control.sock",
        ])
    func roundTrips(text: String) throws {
        let address = try #require(SocketAddress(text))
        #expect(address.description == text)
        #expect(SocketAddress.all(text) == [address])
    }

    @Test(
        "what is no address is refused",
        arguments: [
            "", ":", "25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+25",
            "127.0.0.1: 25", "127.0.0.1:25 ", "127.0.0.01:25x", "127.1:25", "::1:25", "[::1]",
            "[::1:25", "[127.0.0.1]:25", "[::1%]:25", "localhost:25", ":65536", ":-1", "[]:25",
            "127.0.0.1\0:25", "/run/\0",
        ])
    func refuses(text: String) {
        #expect(SocketAddress(text) == nil)
        #expect(SocketAddress.all(text) == [])
    }

    @Test("a port alone is all addresses of both families")
    func all() throws {
        #expect(SocketAddress.all(":2525").map(\.description) == ["[::]:2525", "0.0.0.0:2525"])
        #expect(SocketAddress(":2525") == nil)
        let address = try #require(SocketAddress("[::1]:25"))
        #expect(address.host == .v6(high: 0, low: 1) && address.port == 25)
        #expect(address.withPort(26).description == "[::1]:26")
        #expect(SocketAddress(unixPath: "/x").host == nil)
    }
}
