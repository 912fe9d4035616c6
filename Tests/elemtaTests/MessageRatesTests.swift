import ElemtaConfiguration
import ElemtaSMTP
import Testing

@testable import elemta

@Suite("Messages per address") struct MessageRatesTests {
    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test("an address has so many in a window, and as many in the next")
    func window() throws {
        var rates = MessageRates(Configuration.Rate(count: 2, seconds: 60))
        let client = try address("192.0.2.1")
        #expect(rates.admit(client, at: .seconds(0)) == true)
        #expect(rates.admit(client, at: .seconds(59)) == true)
        #expect(rates.admit(client, at: .seconds(59)) == false)
        #expect(rates.admit(client, at: .seconds(60)) == true)
    }

    @Test("an IPv6 /64 is one address, and another is another")
    func sites() throws {
        var rates = MessageRates(Configuration.Rate(count: 1, seconds: 60))
        #expect(rates.admit(try address("2001:db8::1"), at: .zero) == true)
        #expect(rates.admit(try address("2001:db8::2"), at: .zero) == false)
        #expect(rates.admit(try address("2001:db8:0:1::1"), at: .zero) == true)
    }
}
