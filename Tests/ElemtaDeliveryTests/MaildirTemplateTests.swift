import ElemtaSMTP
import Testing

@testable import ElemtaDelivery

struct MaildirTemplateTests {
    private func path(_ address: String, _ text: String) throws -> String? {
        let template = try #require(MaildirTemplate(text))
        let mailbox = try #require(Mailbox(address), "\(address)")
        return template.components(for: mailbox).map { components in
            ([template.root] + components).joined(separator: "/")
        }
    }

    @Test(
        "Whoever is written in several ways has one mailbox",
        arguments: [
            "bob@example.com", "Bob@Example.COM", "\"bob\"@example.com", "\"b\\ob\"@example.com",
            "bob+lists@example.com", "BOB+@example.com", "\"bob+a b\"@example.com",
        ])
    func oneMailbox(address: String) throws {
        #expect(try path(address, "/mail/{domain}/{local}") == "/mail/example.com/bob")
    }

    @Test(
        "No name leads out of the root, and no two names into one folder",
        arguments: [
            ("\"..\"@a.example", "%2E."), ("\".\"@a.example", "%2E"),
            ("\"../../etc\"@a.example", "%2E.%2F..%2Fetc"), ("\"/\"@a.example", "%2F"),
            ("\"a/b\"@a.example", "a%2Fb"), ("a/b@a.example", "a%2Fb"),
            ("\".hidden\"@a.example", "%2Ehidden"), ("a.b@a.example", "a.b"),
            ("a%2Fb@a.example", "a%252fb"), ("\"a b\"@a.example", "a%20b"),
            ("\"a\\\"b\"@a.example", "a%22b"), ("\"a\\\\b\"@a.example", "a%5Cb"),
            ("+tag@a.example", "+tag"), ("{local}@a.example", "%7Blocal%7D"),
            ("{domain}@a.example", "%7Bdomain%7D"), ("用户@a.example", "用户"),
            ("\u{212A}im@a.example", "\u{212A}im"), ("kim@a.example", "kim"),
            ("-rf@a.example", "-rf"), ("a'b@a.example", "a%27b"), ("*@a.example", "%2A"),
            ("\"a@b\"@a.example", "a@b"),
        ])
    func names(address: String, name: String) throws {
        #expect(try path(address, "/mail/{domain}/{local}") == "/mail/a.example/\(name)")
    }

    @Test(
        "A domain is one folder, however it is written",
        arguments: [
            ("a@bücher.example", "xn--bcher-kva.example"),
            ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a@[192.0.2.1]", "%5B192.0.2.1%5D"),
            ("a@[IPv6:2001:db8::1]", "%5Bipv6%3A2001%3Adb8%3A%3A1%5D"),
        ])
    func domains(address: String, name: String) throws {
        #expect(try path(address, "/mail/{domain}/{local}") == "/mail/\(name)/a")
    }

    @Test(
        "The root is what has to be there, the rest is made",
        arguments: [
            ("/mail/{domain}/{local}", "/mail", "/mail/a.example/x"),
            ("/mail/{local}@{domain}/Maildir/", "/mail", "/mail/x@a.example/Maildir"),
            ("/home/{local}/Maildir", "/home", "/home/x/Maildir"),
            ("/var/mail/everybody", "/var/mail", "/var/mail/everybody"),
            ("//var//mail/./{local}", "/var/mail", "/var/mail/x"),
            ("/mail/.{local}", "/mail", "/mail/.x"), ("/{local}", "/", "//x"),
        ])
    func roots(text: String, root: String, whole: String) throws {
        #expect(try #require(MaildirTemplate(text)).root == root)
        #expect(try path("x@a.example", text) == whole)
    }

    @Test(
        "What is no template",
        arguments: [
            "", "/", "/.", "mail/{local}", "/mail/../{local}", "/mail/{user}", "/mail/{local",
            "/mail/local}", "/mail/{{local}}", "/mail/\0/{local}",
        ])
    func noTemplate(text: String) {
        #expect(MaildirTemplate(text) == nil)
    }

    @Test func aNameThatNoFileSystemTakesHasNoMailbox() throws {
        let template = "/mail/{local}"
        #expect(try path("\"\"@a.example", template) == nil)
        let longest = String(repeating: "x", count: 255)
        #expect(try path("\(longest)@a.example", template) == "/mail/\(longest)")
        #expect(try path("\(longest)x@a.example", template) == nil)
        // Three octets each, once they are escaped.
        let escaped = String(repeating: "*", count: 86)
        #expect(try path("\(escaped)@a.example", template) == nil)
    }
}
