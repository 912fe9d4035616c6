import CLibevent
import Glibc

extension SocketAddress {
    /// Whether what is sent to this address stays on this machine. Routing is asked, now: a datagram
    /// socket is connected, which sends nothing, and its own address looked at. Whether one could
    /// bind there would be no answer: `net.ipv4.ip_nonlocal_bind` allows it for every address.
    public var isOfThisMachine: Bool {
        switch host {
        case .v4(let address) where address >> 24 == 127: return true
        case .v6(high: 0, low: 1): return true
        case nil: return true
        case .v4, .v6: break
        }
        let type = Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(family, type, 0)
        guard number >= 0 else { return false }
        let descriptor = OwnedDescriptor(taking: number)
        do throws(ReactorError) {
            try Socket.connect(descriptor.number, to: withPort(9))
        } catch {
            return false
        }
        return Socket.localAddress(descriptor.number)?.host == host
    }
}
