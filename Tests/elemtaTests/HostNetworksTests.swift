import ElemtaSMTP
import Testing

@testable import elemta

@Suite("HostNetworks") struct HostNetworksTests {
    private func interface(
        _ name: String, _ subnet: String, _ address: String
    ) throws -> HostNetworks.Interface {
        HostNetworks.Interface(
            name: name, address: try #require(IPAddress(address)),
            subnet: try #require(IPSubnet(subnet)))
    }

    private func address(_ text: String) throws -> IPAddress {
        try #require(IPAddress(text))
    }

    @Test(
        "only the names that Docker gives are its bridges",
        arguments: [
            ("docker0", true), ("br-0123456789ab", true), ("br-0123456789AB", true),
            ("br-lan", false), ("br-0123456789abc", false), ("docker1", false), ("eth0", false),
        ])
    func dockerBridges(name: String, isDocker: Bool) {
        #expect(HostNetworks.isDockerBridge(name) == isDocker)
    }

    @Test("on a host: loopback and Docker's bridges, not the local network")
    func host() throws {
        let relays = HostNetworks.defaultRelays(
            interfaces: [
                try interface("eth0", "192.168.1.0/24", "192.168.1.2"),
                try interface("docker0", "172.17.0.0/16", "172.17.0.1"),
            ],
            isContainer: false, gateways: [try address("192.168.1.1")])
        #expect(relays.contains(try address("127.0.0.1")))
        #expect(relays.contains(try address("::1")))
        #expect(relays.contains(try address("172.17.0.9")))
        #expect(relays.contains(try address("172.17.0.1")))
        #expect(relays.contains(try address("::ffff:172.17.0.9")))
        #expect(!relays.contains(try address("192.168.1.7")))
        #expect(!relays.contains(try address("127.0.0.2")))
    }

    @Test("in a container: its networks, never the gateway or itself, behind which anyone may be")
    func container() throws {
        let relays = HostNetworks.defaultRelays(
            interfaces: [
                try interface("eth0", "172.18.0.0/16", "172.18.0.2"),
                try interface("eth1", "fd00::/64", "fd00::2"),
            ],
            isContainer: true, gateways: [try address("172.18.0.1")])
        #expect(relays.contains(try address("172.18.0.5")))
        #expect(relays.contains(try address("fd00::5")))
        #expect(!relays.contains(try address("172.18.0.2")))
        #expect(!relays.contains(try address("::ffff:172.18.0.2")))
        #expect(!relays.contains(try address("fd00::2")))
        #expect(!relays.contains(try address("172.18.0.1")))
        #expect(!relays.contains(try address("::ffff:172.18.0.1")))
        #expect(relays.contains(try address("127.0.0.1")))
    }

    @Test(
        "private is RFC 1918 and RFC 4193",
        arguments: [
            ("10.1.2.3", true), ("172.31.255.255", true), ("172.32.0.1", false),
            ("192.168.0.1", true), ("fd00::1", true), ("2001:db8::1", false), ("8.8.8.8", false),
        ])
    func privateAddresses(text: String, isPrivate: Bool) throws {
        #expect(HostNetworks.isPrivate(try address(text)) == isPrivate)
    }
}
