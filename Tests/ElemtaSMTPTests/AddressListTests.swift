import Testing

@testable import ElemtaSMTP

@Suite struct AddressListTests {
    /// The addresses of a field in words; nil when it isn't a list.
    private func read(_ body: String) -> [String]? {
        AddressList(body)?.addresses.map {
            switch $0 {
            case .mailbox(let mailbox): "\(mailbox)"
            case .localPart(let octets): String(decoding: octets, as: UTF8.self)
            }
        }
    }

    private static let lists: [(String, [String])] = [
        ("", []), (" \r\n ", []), (",, ,", []),
        ("a@b.example", ["a@b.example"]),
        (" a@b.example , c.d@e.example ", ["a@b.example", "c.d@e.example"]),
        ("Alice Example <a@b.example>, bob", ["a@b.example", "bob"]),
        ("\"Example, Alice\" <a@b.example>", ["a@b.example"]),
        ("\"a \\\"q\\\" b\" <a@b.example>", ["a@b.example"]),
        ("J. R. \"Bob\" Dobbs <jr@b.example>", ["jr@b.example"]),
        (
            "Jörg <jörg@b.example>, =?utf-8?Q?J=C3=B6rg?= <j@b.example>",
            ["jörg@b.example", "j@b.example"]
        ),
        // RFC 5322 A.1.3
        (
            "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
            ["c@a.test", "joe@where.test", "jdoe@one.test"]
        ),
        ("Undisclosed recipients:;", []),
        ("a@b.example, Us:;, c@d.example", ["a@b.example", "c@d.example"]),
        ("Us: a@b.example; Them: c@d.example;", ["a@b.example", "c@d.example"]),
        // RFC 5322 A.5
        ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ["pete@silly.test"]),
        (
            "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
                + "         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
            ["c@public.example", "joe@example.org", "jdoe@one.test"]
        ),
        ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", []),
        // RFC 5322 A.6.1 and A.6.3
        (
            "Mary Smith <@node.test,@node2.test:mary@example.net>, , jdoe@test . example",
            ["mary@example.net", "jdoe@test.example"]
        ),
        ("\"Joe Q. Public\" <john . q . public@example.com>", ["john.q.public@example.com"]),
        ("\"a b\"@c.example", ["\"a b\"@c.example"]),
        ("\"a\\\\b\"@c.example", ["\"a\\\\b\"@c.example"]),
        ("a.\"b c\".d@e.example", ["\"a.b c.d\"@e.example"]),
        ("<a@[192.0.2.1]>, b@[ IPv6:2001:db8::1 ]", ["a@[192.0.2.1]", "b@[IPv6:2001:db8::1]"]),
        ("root, \"a b\"", ["root", "\"a b\""]), ("<>", []), ("Nobody <>", []),
        ("a@b.example;c@d.example", ["a@b.example", "c@d.example"]),
    ]

    @Test func listsAreRead() {
        for (body, addresses) in Self.lists { #expect(read(body) == addresses, "\(body)") }
    }

    @Test(arguments: [
        "a b", "a b@c.example", "a@", "@b.example", "a@b c.example", "a@b.example c",
        "<a@b.example",
        "a@b.example>", "<a@b.example> c", "<a@b.example> <c@d.example>", "(open", "\"open", "a@[1",
        "Us: a@b.example", "Us: Them: a@b.example;;", ":", ": a;", "a..b@c.example", ".a@b.example",
        "a@b..example", "a@-b.example", "a@b.example\0", "a\u{1}@b.example", "<a,b@c.example>",
        "<a:b@c.example>", "a@b@c.example", ")", "a@b.example)", "\"a\" \"b\"@c.example",
        "a\\b@c.example",
    ])
    func whatIsNoListIsRefused(body: String) {
        #expect(read(body) == nil)
    }

    @Test func hostileListsTakeNoTime() {
        for piece in [
            "(", "<", "\"", "a,", "a:;", "[", "@a:", "\\", ".", "((", "a@b.example,", "<@a,",
        ] {
            let body = String(repeating: piece, count: 1_000_000 / piece.utf8.count)
            let taken = ContinuousClock().measure { _ = read(body) }
            #expect(taken < .seconds(30), "\(piece): \(taken)")
        }
    }
}
