import ElemtaConfiguration
import ElemtaSMTP
import Testing

@testable import elemta

@Suite("Metrics") struct MetricsTests {
    private func text(_ body: (inout MetricsText) -> Void) -> String {
        var text = MetricsText()
        body(&text)
        return String(decoding: text.octets, as: UTF8.self)
    }

    @Test("a label's value can't end its line, or be taken for another label")
    func labels() {
        let written = text { $0.sample(.connections, ["a\"b\\c\nd"], 1) }
        #expect(written == #"elemta_connections{listener="a\"b\\c\nd"} 1"# + "\n")
    }

    @Test("the counts of a histogram include those of the smaller bounds")
    func histogram() {
        var histogram = HistogramCounts(bounds: [0.5, 2])
        for value in [0.5, 0.7, 2, 3] { histogram.observe(value) }
        let lines = text { $0.add(.loopLag, histogram) }.split(separator: "\n").dropFirst(2)
        #expect(
            lines.map { $0.dropFirst("elemta_loop_lag_seconds".count) } == [
                #"_bucket{le="0.5"} 1"#, #"_bucket{le="2"} 3"#, #"_bucket{le="+Inf"} 4"#,
                "_sum 6.2", "_count 4",
            ])
    }

    @Test("every family has words for people that fit on one line of the format")
    func help() {
        for family in MetricFamily.allCases {
            #expect(!family.help.isEmpty && !family.help.contains { $0 == "\n" || $0 == "\\" })
            #expect((family.kind == .counter) == family.rawValue.hasSuffix("_total"))
        }
    }

    @Test("what many threads count is all there")
    func sharedHistogram() {
        let shared = SharedHistogram(bounds: [1, 10])
        for value in [0.25, 5, 50] { shared.observe(value) }
        let snapshot = shared.snapshot
        #expect(snapshot.counts == [1, 1, 1] && snapshot.sum == 55.25)
    }

    @Test("refusals of MAIL, RCPT and content are told apart, and nothing else is one")
    func rejections() {
        var counters = SessionCounters()
        counters.count(.insufficientStorage, to: .known(.mail), octets: 7)
        counters.count(.unknownRecipient, to: .known(.rcpt), octets: 7)
        counters.count(.messageTooLarge, to: .known(.data), octets: 7)
        counters.count(.messageTooLarge, to: .known(.bdat), octets: 8)
        counters.count(.messageAccepted, to: .known(.data), octets: 7)
        counters.count(.timedOut, to: nil, octets: 7)
        #expect(counters.rejectedMessages[.storage] == 1)
        #expect(counters.rejectedMessages[.tooLarge] == 2)
        #expect(counters.rejectedOctets[.tooLarge] == 15)
        #expect(counters.rejectedRecipients[.unknownRecipient] == 1)
        #expect(counters.rejectedMessages[.timeout] == 0)
        #expect(counters.repliesByCode.map(\.code) == [250, 421, 452, 550, 552])
    }

    @Test("a listener that is opened anew goes on with its counters")
    func listeners() {
        var counters = SessionCounters()
        let first = counters.listener(at: ":25")
        #expect(counters.listener(at: ":25") === first)
        #expect(counters.listener(at: ":587") !== first)
    }

    @Test(
        "only the token itself opens /metrics",
        arguments: [
            ("Bearer s3cret", true), ("bearer s3cret", true), ("BEARER s3cret", true),
            ("Bearer s3cre", false), ("Bearer s3crets", false), ("Bearer S3cret", false),
            ("Bearer ", false), ("Bearer", false), ("", false), ("Basic s3cret", false),
            ("s3cret", false), ("Bearer  s3cret", false),
        ] as [(String, Bool)])
    func token(authorization: String, isRight: Bool) {
        let token = AccessToken(Secret("s3cret"))
        #expect(token.isShown(by: authorization) == isRight)
        #expect(!token.isShown(by: nil))
    }

    @Test("a token that no client can send is refused", arguments: ["a b", "a\u{7F}", "ä"])
    func impossibleToken(text: String) {
        #expect(throws: AccessTokenError.self) { try AccessToken(.given(Secret(text))) }
    }

    @Test(
        "an inquiry survives the way over the socket",
        arguments: [
            ServerInquiry.status(isJSON: true), .status(isJSON: false),
            .health(isReadiness: true), .health(isReadiness: false),
        ])
    func inquiries(inquiry: ServerInquiry) {
        #expect(ServerInquiry(words: inquiry.words) == inquiry)
        #expect(ServerInquiry(words: inquiry.words + ["more"]) == nil)
        #expect(QueueRequest(words: inquiry.words) == nil)
    }
}
