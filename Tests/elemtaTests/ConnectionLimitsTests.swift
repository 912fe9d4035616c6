import ElemtaSMTP
import Testing

@testable import elemta

@Suite("ConnectionLimits") struct ConnectionLimitsTests {
    private let first = IPAddress(v4: 0xC000_0201)
    private let second = IPAddress(v4: 0xC000_0202)

    @Test("what the descriptors leave beside deliveries, content files and the server's own")
    func defaults() {
        let limits = ConnectionLimits(
            maximum: 0, perAddress: 0, outbound: 2_000, descriptors: 20_000)
        #expect(limits.maximum == 20_000 - 2_000 - 512 - 64)
        #expect(limits.maximumPerAddress == limits.maximum / 20)
    }

    @Test("with few descriptors some clients are served all the same")
    func fewDescriptors() {
        let limits = ConnectionLimits(
            maximum: 0, perAddress: 0, outbound: 2_000, descriptors: 1_024)
        #expect(limits.maximum == 16)
        #expect(limits.maximumPerAddress == 50)
    }

    @Test("more than the descriptors leave is lowered to it, less is kept")
    func configured() {
        let limit = { (maximum: Int) in
            ConnectionLimits(
                maximum: maximum, perAddress: 0, outbound: 1_000, descriptors: 3_000
            ).maximum
        }
        #expect(limit(5_000) == 3_000 - 1_000 - 512 - 64)
        #expect(limit(1_424) == 1_424)
        #expect(limit(7) == 7)
    }

    @Test("an address is refused at its limit, another isn't, and one that left makes room")
    func perAddress() {
        var limits = ConnectionLimits(maximum: 10, perAddress: 2, outbound: 0, descriptors: 0)
        #expect(limits.admit(first, isExempt: false) == .admit)
        #expect(limits.admit(first, isExempt: false) == .admit)
        #expect(limits.admit(first, isExempt: false) == .tooManyFromAddress)
        #expect(limits.admit(second, isExempt: false) == .admit)
        limits.release(first)
        #expect(limits.admit(first, isExempt: false) == .admit)
        #expect(limits.count == 3)
    }

    @Test("addresses that may relay have no limit of their own, but the total holds for them")
    func exempt() {
        var limits = ConnectionLimits(maximum: 3, perAddress: 1, outbound: 0, descriptors: 0)
        for _ in 1...3 { #expect(limits.admit(first, isExempt: true) == .admit) }
        #expect(limits.admit(first, isExempt: true) == .tooMany)
        #expect(limits.admit(second, isExempt: false) == .tooMany)
    }

    @Test("an IPv6 /64 is one address")
    func sites() throws {
        var limits = ConnectionLimits(maximum: 10, perAddress: 1, outbound: 0, descriptors: 0)
        let one = try #require(IPAddress("2001:db8::1"))
        let neighbour = try #require(IPAddress("2001:db8::ffff:2"))
        #expect(limits.admit(one, isExempt: false) == .admit)
        #expect(limits.admit(neighbour, isExempt: false) == .tooManyFromAddress)
    }

    @Test("a client for whom another spoke first counts for its own address, once")
    func move() {
        var limits = ConnectionLimits(maximum: 10, perAddress: 1, outbound: 0, descriptors: 0)
        let balancer = IPAddress(v4: 0x0A00_0001)
        #expect(limits.admit(balancer, isExempt: true) == .admit)
        #expect(limits.move(from: balancer, to: first, isExempt: false) == true)
        #expect(limits.admit(first, isExempt: false) == .tooManyFromAddress)
        #expect(limits.admit(balancer, isExempt: true) == .admit)
        #expect(limits.move(from: balancer, to: first, isExempt: false) == false)
        #expect(limits.count == 2)
        limits.release(first)
        #expect(limits.move(from: balancer, to: first, isExempt: false) == true)
    }
}
