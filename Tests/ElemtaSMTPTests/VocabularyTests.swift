import Testing

@testable import ElemtaSMTP

@Suite struct IPAddressTests {
    @Test func addressesAreWrittenCanonically() {
        let table = [
            ("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"), ("::", "::"), ("::1", "::1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("2001:db8::0:1", "2001:db8::1"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("fe80::", "fe80::"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
            ("::ffff:c000:201", "::ffff:192.0.2.1"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ]
        for (text, canonical) in table {
            #expect(IPAddress(text)?.description == canonical, "\(text)")
        }
    }

    @Test func whatIsNoAddressIsRefused() {
        for text in [
            "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.04", "1.2.3.4 ", " 1.2.3.4",
            "1..3.4", "a.b.c.d", ":", ":::", "1:", ":1", "1:2", "1::2::3", "12345::", "g::",
            "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4",
            "fe80::1%eth0", "[::1]", "::1/64", "1:2:3:4:5:6:7:", "::1:",
        ] {
            #expect(IPAddress(text) == nil, "\(text)")
        }
    }

    @Test func loopbackAndMappedAddressesAreKnown() {
        #expect(IPAddress("127.3.2.1")?.isLoopback == true)
        #expect(IPAddress("::1")?.isLoopback == true)
        #expect(IPAddress("::ffff:127.0.0.1")?.isLoopback == true)
        #expect(IPAddress("128.0.0.1")?.isLoopback == false)
        #expect(IPAddress("::ffff:10.0.0.1")?.unmapped == IPAddress("10.0.0.1"))
        #expect(IPAddress("2001:db8::1")?.addressLiteral == "[IPv6:2001:db8::1]")
        #expect(IPAddress("192.0.2.1")?.addressLiteral == "[192.0.2.1]")
    }

    @Test func subnetsContainTheirAddresses() throws {
        let table = [
            ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true), ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("0.0.0.0/0", "1.2.3.4", true), ("0.0.0.0/0", "::1", false), ("::/0", "::1", true),
            ("::1", "::1", true), ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("2001:db8::80/121", "2001:db8::ff", true),
            ("2001:db8::80/121", "2001:db8::7f", false),
        ]
        for (subnet, address, isInside) in table {
            let subnet = try #require(IPSubnet(subnet))
            #expect(
                subnet.contains(try #require(IPAddress(address))) == isInside,
                "\(subnet) \(address)")
        }
    }

    @Test func whatIsNoSubnetIsRefused() {
        for text in [
            "", "/", "10.0.0.0/", "/8", "10.0.0.0/33", "10.0.0.1/8", "::/129", "::1/64",
            "10.0.0.0/8/8", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/0008", "example.com",
        ] {
            #expect(IPSubnet(text) == nil, "\(text)")
        }
    }
}

@Suite struct TimeTests {
    @Test func datesAreThoseOfRFC5322() {
        let table: [(Int64, String, String)] = [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000", "1969-12-31T23:59:59Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00Z"),
            (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000", "2000-03-01T00:00:00Z"),
            (1_234_567_890, "Fri, 13 Feb 2009 23:31:30 +0000", "2009-02-13T23:31:30Z"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000", "2100-02-28T23:59:59Z"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000", "2100-03-01T00:00:00Z"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59Z"),
        ]
        for (seconds, rfc5322, rfc3339) in table {
            #expect(UnixTime(seconds: seconds).rfc5322 == rfc5322)
            #expect(UnixTime(seconds: seconds).rfc3339 == rfc3339)
        }
    }

    @Test func noTimeIsTooFarAwayToBeWritten() {
        for seconds in [Int64.min, Int64.max] {
            #expect(!UnixTime(seconds: seconds).rfc5322.isEmpty)
        }
    }
}

@Suite struct ReplyTests {
    @Test func aReplyIsItsWireForm() {
        let reply = Reply(550, 7, 1, lines: ["one", "two\r\nQUIT\u{1}é"])
        #expect(
            String(decoding: reply.octets, as: UTF8.self)
                == "550-5.7.1 one\r\n550 5.7.1 two??QUIT???\r\n")
        #expect(reply.enhancedStatus?.description == "5.7.1")
        #expect(reply.description == "550-5.7.1 one\\r\\n550 5.7.1 two??QUIT???")
        #expect(SessionDriver.isWellFormed(reply))
    }

    @Test func noReplyLineIsLongerThanTheRFCAllows() {
        let reply = Reply(450, 0, 0, String(repeating: "x", count: 2000))
        #expect(reply.octets.count == 512)
        #expect(SessionDriver.isWellFormed(reply))
    }

    @Test func enhancedStatusesAreRead() {
        #expect(EnhancedStatus("5.7.1") == EnhancedStatus(.permanentFailure, 7, 1))
        #expect(EnhancedStatus("4.999.0")?.description == "4.999.0")
        for text in ["", "5", "5.7", "5.7.1.1", "3.7.1", "5.7.1000", "5..1", "55.7.1", "5.a.1"] {
            #expect(EnhancedStatus(text) == nil, "\(text)")
        }
    }
}

@Suite struct ReceivedFieldTests {
    private func field(_ helo: String, _ address: String, _ recipient: ForwardPath?) throws
        -> String
    {
        let octets = ReceivedField.octets(
            heloName: Array(helo.utf8), address: try #require(IPAddress(address)),
            hostname: "mail.example.com", protocolName: "ESMTP", id: Array("01ABC".utf8),
            recipient: recipient, time: UnixTime(seconds: 0))
        return String(decoding: octets, as: UTF8.self)
    }

    @Test func theFieldSaysWhoFromByWithIdForAndWhen() throws {
        let recipient = ForwardPath.mailbox(try #require(Mailbox("a@b.c")))
        #expect(
            try field("client.example", "2001:db8::1", recipient) == """
                Received: from client.example ([IPv6:2001:db8::1])\r
                \tby mail.example.com with ESMTP id 01ABC\r
                \tfor <a@b.c>;\r
                \tThu, 1 Jan 1970 00:00:00 +0000\r

                """)
    }

    @Test func tlsIsNamedInAComment() {
        let octets = ReceivedField.octets(
            heloName: Array("c.example".utf8), address: IPAddress(v4: 0xC000_0201),
            hostname: "mail.example.com", protocolName: "ESMTPS", tls: SessionDriver.tls,
            id: Array("01ABC".utf8), recipient: nil, time: UnixTime(seconds: 0))
        #expect(
            String(decoding: octets, as: UTF8.self) == """
                Received: from c.example ([192.0.2.1])\r
                \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r
                \tby mail.example.com with ESMTPS id 01ABC;\r
                \tThu, 1 Jan 1970 00:00:00 +0000\r

                """)
    }

    @Test func severalRecipientsAndPostmasterAreNotNamed() throws {
        for recipient in [nil, ForwardPath.postmaster] {
            #expect(
                try field("[192.0.2.1]", "192.0.2.1", recipient) == """
                    Received: from [192.0.2.1] ([192.0.2.1])\r
                    \tby mail.example.com with ESMTP id 01ABC;\r
                    \tThu, 1 Jan 1970 00:00:00 +0000\r

                    """)
        }
    }
}
