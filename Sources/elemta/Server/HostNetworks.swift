import ElemtaConfiguration
import ElemtaSMTP
import Glibc

/// What this host's interfaces say about who is near: the default of `allowed_relays`.
///
/// On a host: loopback and the private subnets of Docker's bridges (`docker0`, `br-<12 hex>`).
/// In a container: loopback and the container's own private subnets, but neither the default gateway
/// nor the container's own addresses, because behind a published port the whole internet has one of
/// them (Docker's userland proxy, rootless Podman). Where a mesh in front of the container gives
/// strangers other addresses of its subnets (Swarm) nothing here can tell: `allowed_relays` must.
enum HostNetworks {
    struct Interface: Sendable {
        let name: String
        let address: IPAddress
        let subnet: IPSubnet
    }

    /// The networks that may relay, less single addresses inside them.
    struct Relays: Sendable, CustomStringConvertible {
        var subnets: [IPSubnet]
        var excluded: [IPAddress] = []

        init(subnets: [IPSubnet], excluded: [IPAddress] = []) {
            self.subnets = subnets
            self.excluded = excluded
        }

        /// `allowed_relays`, or what this host's interfaces say where the key is absent.
        init(_ configuration: Configuration) {
            self =
                configuration.allowedRelays.map { Self(subnets: $0) }
                ?? HostNetworks.defaultRelays()
        }

        func contains(_ address: IPAddress) -> Bool {
            !excluded.contains(address.unmapped) && subnets.contains { $0.contains(address) }
        }

        var description: String {
            let list = subnets.map(\.description).joined(separator: ",")
            guard !excluded.isEmpty else { return list }
            return list + " without " + excluded.map(\.description).joined(separator: ",")
        }
    }

    static func defaultRelays(
        interfaces: [Interface] = privateInterfaces(), isContainer: Bool = isContainer(),
        gateways: [IPAddress] = defaultGateways()
    ) -> Relays {
        var relays = Relays(
            subnets: ["127.0.0.1", "::1"].compactMap { IPSubnet($0) })
        for interface in interfaces where isContainer || isDockerBridge(interface.name) {
            relays.subnets.append(interface.subnet)
        }
        if isContainer { relays.excluded = gateways + interfaces.map(\.address) }
        return relays
    }

    /// `docker0`, or the `br-` + 12 hexadecimal digits that Docker names its own networks with.
    static func isDockerBridge(_ name: String) -> Bool {
        if name == "docker0" { return true }
        guard name.hasPrefix("br-") else { return false }
        let digits = name.dropFirst(3)
        return digits.count == 12 && digits.allSatisfy(\.isHexDigit)
    }

    /// Docker and Podman leave a marker file; Kubernetes sets its environment.
    static func isContainer() -> Bool {
        for marker in ["/.dockerenv", "/run/.containerenv"]
        where unsafe access(marker, F_OK) == 0 {
            return true
        }
        return unsafe getenv("KUBERNETES_SERVICE_HOST") != nil
    }

    /// The private (RFC 1918) and unique local (RFC 4193) subnets of this host's interfaces.
    static func privateInterfaces() -> [Interface] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard unsafe getifaddrs(&list) == 0 else { return [] }
        // Safe because the list that getifaddrs allocated is freed once, after the last use.
        defer { unsafe freeifaddrs(list) }
        var found: [Interface] = []
        var next = unsafe list
        while let entry = unsafe next {
            unsafe next = entry.pointee.ifa_next
            guard let address = unsafe kernelAddress(at: entry.pointee.ifa_addr),
                let mask = unsafe kernelAddress(at: entry.pointee.ifa_netmask), isPrivate(address),
                let subnet = subnet(of: address, mask: mask)
            else { continue }
            found.append(
                Interface(
                    name: unsafe String(cString: entry.pointee.ifa_name), address: address,
                    subnet: subnet))
        }
        return found
    }

    static func isPrivate(_ address: IPAddress) -> Bool {
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
            .compactMap { IPSubnet($0) }.contains { $0.contains(address) }
    }

    /// The IPv4 gateways of `/proc/net/route` and the IPv6 ones of `/proc/net/ipv6_route` whose
    /// destination is everything.
    static func defaultGateways() -> [IPAddress] {
        var gateways: [IPAddress] = []
        for line in SmallFile.lines(of: "/proc/net/route").dropFirst() {
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count > 7, fields[1] == "00000000", fields[7] == "00000000",
                let gateway = UInt32(fields[2], radix: 16), gateway != 0
            else { continue }
            gateways.append(IPAddress(v4: gateway.byteSwapped))
        }
        for line in SmallFile.lines(of: "/proc/net/ipv6_route") {
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count > 4, fields[1] == "00", fields[0].allSatisfy({ $0 == "0" }),
                fields[4].count == 32, let high = UInt64(fields[4].prefix(16), radix: 16),
                let low = UInt64(fields[4].suffix(16), radix: 16), high | low != 0
            else { continue }
            gateways.append(IPAddress(v6High: high, v6Low: low))
        }
        return gateways
    }

    private static func subnet(of address: IPAddress, mask: IPAddress) -> IPSubnet? {
        switch (address.storage, mask.storage) {
        case (.v4(let host), .v4(let mask)):
            let network = IPAddress(v4: host & mask)
            return IPSubnet("\(network)/\(mask.nonzeroBitCount)")
        case (.v6(let high, let low), .v6(let maskHigh, let maskLow)):
            let network = IPAddress(v6High: high & maskHigh, v6Low: low & maskLow)
            return IPSubnet("\(network)/\(maskHigh.nonzeroBitCount + maskLow.nonzeroBitCount)")
        case (.v4, .v6), (.v6, .v4):
            return nil
        }
    }

    private static func kernelAddress(at pointer: UnsafeMutablePointer<sockaddr>?) -> IPAddress? {
        guard let pointer = unsafe pointer else { return nil }
        // Safe because the family says which structure the kernel put there.
        switch unsafe Int32(pointer.pointee.sa_family) {
        case AF_INET:
            let raw = unsafe UnsafeRawPointer(pointer).load(as: sockaddr_in.self)
            return IPAddress(v4: UInt32(bigEndian: raw.sin_addr.s_addr))
        case AF_INET6:
            let raw = unsafe UnsafeRawPointer(pointer).load(as: sockaddr_in6.self)
            let words = unsafe withUnsafeBytes(of: raw.sin6_addr) { buffer in
                unsafe (
                    UInt64(bigEndian: buffer.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
                    UInt64(bigEndian: buffer.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            return IPAddress(v6High: words.0, v6Low: words.1)
        default:
            return nil
        }
    }
}
