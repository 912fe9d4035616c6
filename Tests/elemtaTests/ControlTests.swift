import ElemtaQueue
import ElemtaSMTP
import Testing

@testable import elemta

@Suite("Control socket") struct ControlTests {
    private static let ids = [MessageID(rawValue: 1), MessageID(rawValue: .max)]

    @Test(
        "a request survives the way over the socket",
        arguments: [
            QueueRequest(.list, .all, form: .json), QueueRequest(.list, .state(.deferred)),
            QueueRequest(.show, .ids([ids[0]]), form: .raw), QueueRequest(.statistics),
            QueueRequest(.change(.delete), .ids(ids)), QueueRequest(.change(.retry), .all),
            QueueRequest(.change(.hold), .sender(.null)),
        ]
            + [
                Domain("example.com").map { QueueRequest(.change(.release), .domain($0)) },
                Mailbox("a@example.com").map { QueueRequest(.list, .sender(.mailbox($0))) },
            ].compactMap { $0 })
    func requests(request: QueueRequest) throws {
        let octets = ControlFrame.request(request.words)
        #expect(octets.last == UInt8(ascii: "\n"))
        let words = try #require(ControlFrame.words(of: octets.dropLast()))
        #expect(QueueRequest(words: words) == request)
    }

    @Test(
        "what isn't a request of this version is none",
        arguments: [
            [], ["queue"], ["queue", "explode", "table", "all"], ["queue", "list", "table"],
            ["queue", "list", "table", "ids"], ["queue", "list", "table", "ids", "not-an-id"],
            ["queue", "list", "table", "all", "more"], ["queue", "list", "poem", "all"],
            ["queue", "list", "table", "state", "lost"], ["status", "list", "table", "all"],
        ])
    func nonsense(words: [String]) {
        #expect(QueueRequest(words: words) == nil)
    }

    @Test(
        "a frame is read back wherever the stream was cut",
        arguments: [
            ControlFrame.output(Array("line\n".utf8)), .output([]), .complaint([0, 255]), .exit(75),
        ])
    func frames(frame: ControlFrame) {
        let octets = frame.octets
        for count in 0..<octets.count {
            #expect(ControlFrame.parse(octets[..<count]) == .incomplete)
        }
        #expect(ControlFrame.parse((octets + [1, 2])[...]) == .frame(frame, count: octets.count))
    }

    @Test(
        "what no server of ours sends is told from what is on its way",
        arguments: [
            [UInt8(ascii: "z"), 0, 0, 0, 0], [UInt8(ascii: "o"), 255, 0, 0, 0],
            [UInt8(ascii: "x"), 0, 0, 0, 0],
        ] as [[UInt8]])
    func invalidFrames(octets: [UInt8]) {
        #expect(ControlFrame.parse(octets[...]) == .invalid)
    }
}
