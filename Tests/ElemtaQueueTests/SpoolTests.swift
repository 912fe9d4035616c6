import ElemtaSMTP
import Glibc
import Testing

@testable import ElemtaQueue

@Suite struct SpoolTests {
    @Test(
        "Content of any size comes back as it was",
        arguments: [0, 1, 1000, 3700, 3900, 4048, 4049, 8096, 65536, 300_001])
    func contentComesBack(count: Int) throws {
        let fixture = try SpoolFixture(try TestDirectory())
        let content = pattern(count)
        let id = try fixture.accept(try fixture.envelope(), content)
        let stored = try fixture.spool.read(id)
        #expect(try stored.octets == content)
        #expect(stored.envelope.contentOctets == UInt64(count))
        #expect(stored.envelope.client.heloName == Array("client.example".utf8))
    }

    @Test("What was accepted is handed out again after a restart, until it is delivered")
    func restartKeepsMail() throws {
        let directory = try TestDirectory()
        let id: MessageID
        do {
            let fixture = try SpoolFixture(directory)
            id = try fixture.accept()
            #expect(try fixture.work().first?.id == id)
            fixture.spool.stop()
        }
        do {
            let fixture = try SpoolFixture(directory)
            let item = try fixture.work()[0]
            #expect(item.id == id)
            #expect(item.destination.name == "smtp:a.example")
            #expect(fixture.spool.ids.next() > id)
            fixture.answer(item, .delivered(DeliveryStatus(code: 250)))
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory)
        let report = try fixture.event { event in
            if case .recovered(let report) = event { report } else { nil }
        }
        #expect(report.messages == 0)
        #expect(throws: SpoolError.unknownMessage(id)) { try fixture.spool.read(id) }
    }

    @Test(
        "What a message demands of its way is known after a restart",
        arguments: [
            (true, false, "sender@client.example", TransportDemand.tls, " (tls)"),
            (false, true, "sender@client.example", .delivery, " (delivery)"),
            // RFC 8689 4.1: the parameter counts, not the field.
            (true, true, "sender@client.example", .tls, " (tls)"),
            (false, false, "sender@client.example", .none, ""),
            // A client's null reverse-path isn't a report of ours, which alone may do without.
            (true, false, "", .tls, " (tls)"),
        ])
    func demands(
        requireTLS: Bool, isOptional: Bool, sender: String, demand: TransportDemand, suffix: String
    ) throws {
        let directory = try TestDirectory()
        do {
            let fixture = try SpoolFixture(directory)
            var envelope = try fixture.envelope(from: sender) {
                $0.parameters.requireTLS = requireTLS
                $0.parameters.submitter = Array("me@client.example".utf8)
            }
            if isOptional { envelope.summary.traits = [.tlsNotRequired] }
            try fixture.accept(envelope, [])
            #expect(try fixture.work()[0].destination.name == "smtp:a.example\(suffix)")
            fixture.spool.stop()
        }
        let fixture = try SpoolFixture(directory)
        let item = try fixture.work()[0]
        #expect(item.destination.name == "smtp:a.example\(suffix)")
        let envelope = try fixture.spool.read(item.id).envelope
        #expect(envelope.transportDemand == demand)
        #expect(envelope.parameters.submitter == Array("me@client.example".utf8))
        // Put off, it is still the same.
        fixture.answer(item, .deferred(DeliveryStatus(code: 451)))
        _ = try fixture.event { event in
            if case .deferred = event { true } else { nil }
        }
        fixture.pass(1_000)
        #expect(try fixture.work()[0].destination.name == "smtp:a.example\(suffix)")
        fixture.spool.stop()
    }
}
