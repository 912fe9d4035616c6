import ElemtaSMTP
import Testing

@testable import ElemtaQueue

@Suite struct RecordTests {
    private func fullEnvelope(submitter: [UInt8]? = nil, security: String = "") throws -> Envelope {
        let status = DeliveryStatus(
            code: 451, enhancedStatus: EnhancedStatus(.persistentTransientFailure, 4, 1),
            text: [0, 255, 13], nextHop: "mx", security: security)
        var envelope = Envelope(
            id: MessageID(rawValue: 77), arrival: UnixTime(seconds: -5),
            client: ClientTrace(
                heloName: [1, 2], address: IPAddress("2001:db8::1"), protocolName: "UTF8SMTPSA",
                user: "someone"),
            transaction: MailTransaction(
                reversePath: .null,
                parameters: MailParameters(
                    declaredSize: .max, bodyType: .binaryMIME, smtputf8: true,
                    returnContent: .headers, envelopeID: [65], requireTLS: true,
                    submitter: submitter)),
            summary: ContentSummary(
                octetCount: 9, traits: [.eightBit, .nul], longestLine: 4,
                receivedFieldCount: 3))
        let mailbox = try #require(Mailbox("\"odd one\"@[IPv6:2001:db8::2]"))
        envelope.recipients = [
            QueuedRecipient(path: .postmaster),
            QueuedRecipient(
                path: .mailbox(mailbox), notify: [.success, .delay],
                originalRecipient: OriginalRecipient(addressType: [114], address: [200]),
                state: .pending(
                    attempts: 3, nextAttempt: UnixTime(seconds: 9), lastReason: status)),
            QueuedRecipient(path: .postmaster, state: .delivered(status)),
            QueuedRecipient(path: .postmaster, state: .failed(DeliveryStatus())),
        ]
        envelope.recipients[1].delayReported = true
        envelope.isHeld = true
        envelope.note(
            DeliveryAttempt(
                time: UnixTime(seconds: 8), destination: "d", delivered: 1, deferred: 2,
                failed: 3, status: status))
        return envelope
    }

    private func encoded(_ envelope: Envelope, _ place: ContentPlace) -> [UInt8] {
        var writer = OctetWriter()
        EnvelopeCodec.encode(envelope, place: place, into: &writer)
        return writer.octets
    }

    @Test(
        "An envelope comes back as it was",
        arguments: [ContentPlace.inline, .pieces(9), .file],
        [nil, [], Array("me@example.com".utf8)] as [[UInt8]?])
    func envelopeRoundTrip(place: ContentPlace, submitter: [UInt8]?) throws {
        let envelope = try fullEnvelope(submitter: submitter, security: "TLSv1.3")
        let octets = encoded(envelope, place)
        let decoded = try EnvelopeCodec.decode(octets.span, id: envelope.id)
        #expect(decoded.envelope == envelope)
        #expect(decoded.place == place)
        #expect(decoded.count == octets.count)
    }

    @Test("A record from before submitters were kept is still read")
    func formerRecord() throws {
        let envelope = try fullEnvelope()
        #expect(encoded(envelope, .inline) == Self.formerRecord)
        let decoded = try EnvelopeCodec.decode(Self.formerRecord.span, id: envelope.id)
        #expect(decoded.envelope == envelope)
    }

    /// What the first release wrote for `fullEnvelope()`.
    private static let formerRecord: [UInt8] = [
        0, 9, 251, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 2, 1, 2, 6, 128, 128,
        128, 128, 128, 183, 195, 128, 32, 1, 10, 85, 84, 70, 56, 83, 77, 84, 80, 83,
        65, 1, 7, 115, 111, 109, 101, 111, 110, 101, 0, 107, 255, 255, 255, 255, 255,
        255, 255, 255, 255, 1, 1, 1, 65, 9, 3, 4, 3, 1, 8, 1, 100, 1, 2, 3, 195, 3, 4,
        4, 1, 3, 0, 255, 13, 2, 109, 120, 4, 0, 0, 0, 0, 0, 28, 34, 111, 100, 100, 32,
        111, 110, 101, 34, 64, 91, 73, 80, 118, 54, 58, 50, 48, 48, 49, 58, 100, 98,
        56, 58, 58, 50, 93, 10, 3, 1, 114, 1, 200, 12, 3, 9, 195, 3, 4, 4, 1, 3, 0,
        255, 13, 2, 109, 120, 0, 0, 0, 1, 195, 3, 4, 4, 1, 3, 0, 255, 13, 2, 109, 120,
        0, 0, 0, 2, 0, 0, 0, 0,
    ]

    @Test("Cut or changed octets decode to an error or to something else, and never crash")
    func damagedEnvelopes() throws {
        let octets = encoded(try fullEnvelope(submitter: [64], security: "TLSv1.3"), .pieces(2))
        for count in octets.indices {
            let cut = Array(octets[..<count])
            #expect(throws: RecordDamage.self, "\(count)") {
                _ = try EnvelopeCodec.decode(cut.span, id: MessageID(rawValue: 1)).count
            }
        }
        for index in octets.indices {
            for value in [0, 1, 0x7F, 0x80, 0xFF, octets[index] ^ 4] as [UInt8] {
                var changed = octets
                changed[index] = value
                _ = try? EnvelopeCodec.decode(changed.span, id: MessageID(rawValue: 1)).count
            }
        }
    }

    @Test("A flipped bit anywhere in a record is found")
    func flippedBitIsFound() {
        var record = [UInt8](repeating: 0, count: RecordHeader.count) + pattern(100)
        let header = RecordHeader(
            kind: .piece, id: MessageID(rawValue: 5), part: 6, length: 100)
        // Safe because the buffer is the whole record.
        unsafe record.withUnsafeMutableBytes { unsafe header.seal($0) }
        let verified = try? RecordHeader.verify(record.span, is: .piece, of: header.id)
        #expect(verified == header)
        for bit in 0..<record.count * 8 {
            var changed = record
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: RecordDamage.self, "bit \(bit)") {
                _ = try RecordHeader.verify(changed.span, is: .piece, of: header.id).length
            }
        }
        for count in record.indices {
            #expect(throws: RecordDamage.self, "\(count) octets") {
                let cut = Array(record[..<count])
                _ = try RecordHeader.verify(cut.span, is: .piece, of: header.id).length
            }
        }
    }

    @Test(
        "The checksum is XXH64",
        arguments: [
            ("", 0, 0xEF46_DB37_51D8_E999), ("a", 0, 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0, 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0, 0xFBCE_A83C_8A37_8BF1),
        ] as [(String, UInt64, UInt64)])
    func checksumVectors(text: String, seed: UInt64, sum: UInt64) {
        let octets = Array(text.utf8)
        #expect(Checksum.of(octets.span, seed: seed) == sum)
    }

    @Test("Ids print in one alphabet, in order, and come back")
    func messageIDText() {
        let values: [UInt64] = [0, 1, 31, 32, 1 << 60, 1 << 63, .max]
        let texts = values.map { MessageID(rawValue: $0).description }
        #expect(texts == texts.sorted())
        for (value, text) in zip(values, texts) {
            #expect(text.utf8.count == MessageID.characterCount)
            #expect(MessageID(text)?.rawValue == value)
            #expect(MessageID(text.uppercased())?.rawValue == value)
        }
        for text in ["", "0", "zzzzzzzzzzzzz", "il00000000000", "00000000000000"] {
            #expect(MessageID(text) == nil, "\(text)")
        }
    }

    @Test("Ids grow whatever the clock does")
    func idsGrow() {
        let times: [UInt64] = [5_000_000_000, 5_000_000_000, 1, 5_000_000_001, 9_000_000_000]
        let position = TestCounter()
        let source = MessageIDSource(
            above: MessageID(rawValue: 7), clock: { times[position.next() % times.count] })
        var last = MessageID(rawValue: 7)
        for _ in 0..<1000 {
            let next = source.next()
            #expect(next > last)
            last = next
        }
    }
}
