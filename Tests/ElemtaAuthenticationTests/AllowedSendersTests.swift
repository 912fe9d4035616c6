import ElemtaSMTP
import Testing

@testable import ElemtaAuthentication

@Suite("Allowed senders") struct AllowedSendersTests {
    @Test("an address, a domain or what is below a domain")
    func patterns() throws {
        let table: [(patterns: [String], sender: String, isAllowed: Bool)] = [
            (["alice@example.com"], "alice@example.com", true),
            (["alice@example.com"], "Alice@EXAMPLE.com", true),
            (["Alice@Example.com"], "alice@example.com", true),
            (["alice@example.com"], "alice@sub.example.com", false),
            (["alice@example.com"], "alice+tag@example.com", false),
            (["alice@example.com"], "bob@example.com", false),
            (["example.com"], "anyone@example.com", true),
            (["@example.com"], "anyone@EXAMPLE.com", true),
            (["example.com"], "anyone@sub.example.com", false),
            (["example.com"], "anyone@notexample.com", false),
            (["example.com"], "example.com@evil.test", false),
            (["example.com"], "\"x@example.com\"@evil.test", false),
            ([".example.com"], "anyone@sub.example.com", true),
            ([".example.com"], "anyone@example.com", false),
            ([".example.com"], "anyone@badexample.com", false),
            (["a@example.com", "example.org"], "b@example.org", true),
            ([], "a@example.com", false),
        ]
        for (patterns, sender, isAllowed) in table {
            let mailbox = try #require(Mailbox(sender))
            let allowed = try AllowedSenders(patterns)
            #expect(allowed.allows(.mailbox(mailbox)) == isAllowed, "\(patterns) \(sender)")
            #expect(allowed.allows(.null))
        }
    }

    @Test("what is neither is named")
    func refused() {
        for text in ["", "@", ".", "a@", "a b@example.com", "*", "exa mple.com", "a@b@c"] {
            #expect(throws: AllowedSenders.NotASender(index: 1), "\(text)") {
                _ = try AllowedSenders(["example.com", text])
            }
        }
    }
}
