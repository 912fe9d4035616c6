import Testing

@testable import elemta

@Suite("Subject") struct SubjectTests {
    private func subject(_ field: String) -> String? {
        Subject.text(of: HeaderSection(of: Array("To: a@b.example\r\n\(field)\r\n\r\nbody".utf8)))
    }

    @Test(
        "is what a person reads",
        arguments: [
            ("Subject: plain", "plain"),
            ("SUBJECT:plain", "plain"),
            ("Subject:   two  words ", "two  words"),
            ("Subject: folded\r\n line", "folded line"),
            ("Subject: folded\r\n\tline", "folded\tline"),
            ("Subject:\r\n below", "below"),
            ("Subject:", ""),
            ("Subject: first\r\nSubject: second", "first"),
            ("Subject: gr\u{FC}n", "gr\u{FC}n"),
            ("Subject: =?utf-8?B?R3LDvMOfZQ==?=", "Gr\u{FC}\u{DF}e"),
            ("Subject: =?UTF-8*de?b?R3LDvMOfZQ==?=", "Gr\u{FC}\u{DF}e"),
            ("Subject: =?iso-8859-1?Q?Gr=FC=dfe_an_alle?=", "Gr\u{FC}\u{DF}e an alle"),
            ("Subject: =?us-ascii?q?a_b?= c", "a b c"),
            // White space between encoded words isn't text; beside other words it is.
            ("Subject: =?utf-8?Q?a?=\r\n =?utf-8?Q?b?= c =?utf-8?Q?d?=", "ab c d"),
            // Cut within a character.
            ("Subject: =?utf-8?B?w7w=?= =?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "\u{FC}\u{FC}"),
        ])
    func readable(field: String, text: String) {
        #expect(subject(field) == text)
    }

    @Test(
        "what can't be decoded stays as it was written",
        arguments: [
            "=?utf-8?B?R3LD!?=", "=?utf-8?Q?=C?=", "=?utf-8?Q?=+5?=", "=?koi8-r?Q?a?=",
            "=?utf-8?X?a?=", "=?utf-8?Q?a", "=?=", "=?utf-8?Q?a?b?=", "x=?utf-8?Q?a?=",
        ])
    func undecodable(text: String) {
        #expect(subject("Subject: \(text)") == text)
    }

    @Test("octets that aren't UTF-8 are replaced, and a long subject is cut")
    func bounded() {
        #expect(subject("Subject: =?utf-8?Q?a=FFb?=") == "a\u{FFFD}b")
        let long = subject("Subject: \(String(repeating: "\u{FC}", count: 5000))")
        #expect(long == String(repeating: "\u{FC}", count: 199) + "\u{2026}")
    }

    @Test("without such a field in the header section there is none")
    func absent() {
        #expect(subject("X-Subject: a") == nil)
        #expect(subject("Subjects: a") == nil)
        #expect(Subject.text(of: HeaderSection(of: Array("\r\nSubject: a\r\n".utf8))) == nil)
        #expect(Subject.text(of: HeaderSection(of: [])) == nil)
    }
}

@Suite("HeaderSection") struct HeaderSectionTests {
    @Test(
        "ends before the empty line, whatever ends the lines, or with the content",
        arguments: [
            ("A: 1\r\nB: 2\r\n\r\nC: 3\r\n", "A: 1\r\nB: 2\r\n"), ("A: 1\n\nB: 2\n", "A: 1\n"),
            ("A: 1\r\nB: 2", "A: 1\r\nB: 2"), ("A: 1", "A: 1"), ("\r\nA: 1\r\n", ""), ("", ""),
        ])
    func ends(content: String, header: String) {
        #expect(HeaderSection(of: Array(content.utf8)).octets == Array(header.utf8))
    }

    @Test("is looked for in the first 64 KiB")
    func isBounded() {
        let octets = [UInt8](repeating: 0x61, count: 100_000)
        #expect(HeaderSection(of: octets).octets.count == HeaderSection.octetLimit)
    }
}
