import Glibc
import Logging
import Testing

@testable import elemta

@Suite("LogLine") struct LogLineTests {
    private func line(_ metadata: Logger.Metadata, as form: LogLine.Form = .text) -> String {
        var text: [UInt8] = []
        LogLine.append(
            .init(
                time: timespec(tv_sec: 1_767_225_599, tv_nsec: 42_999_999), level: .info,
                event: "message_accepted", name: nil, fields: LogFields(metadata)),
            as: form, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    @Test("time in UTC with milliseconds, level, event, then the fields by name")
    func form() {
        #expect(
            line(["to": "b@example.com", "from": "a@example.com"])
                == "2025-12-31T23:59:59.042Z info message_accepted from=a@example.com to=b@example.com\n"
        )
    }

    @Test("as JSON an object a line, with numbers where a field is always one")
    func json() {
        #expect(
            line(["to": "b@example.com", "octets": "42", "id": "77"], as: .json)
                == #"{"time":"2025-12-31T23:59:59.042Z","level":"info","event":"message_accepted","#
                + #""id":"77","octets":42,"to":"b@example.com"}"# + "\n")
        #expect(
            line(["helo": "a\"b\r\n\u{1B}\u{2028}"], as: .json)
                .hasSuffix(#""helo":"a\"b\u000d\u000a\u001b\u2028"}"# + "\n"))
    }

    @Test("as JSON nothing turns the direction of reading, whatever a client sends")
    func jsonDirection() {
        #expect(
            line(["helo": "a\u{202E}b\u{200B}\u{E0001}é\u{7F}"], as: .json)
                .hasSuffix(#""helo":"a\u202eb\u200b\udb40\udc01é\u007f"}"# + "\n"))
    }

    @Test(
        "nothing a client sent ends a line or passes for another field",
        arguments: [
            ("", #""""#), ("a b", #""a b""#), ("a=b", #""a=b""#), ("a\"b", #""a\"b""#),
            ("a\\b", #""a\\b""#), ("a\r\nb", #""a\x0d\x0ab""#), ("\u{1B}[2J", #""\x1b[2J""#),
            ("\u{7F}", #""\x7f""#), ("ünïcode", #""ünïcode""#),
            // C1 controls and Unicode's line ends act on terminals and line readers too.
            ("a\u{85}b", #""a\xc2\x85b""#), ("a\u{2028}b", #""a\xe2\x80\xa8b""#),
        ])
    func escapes(value: String, printed: String) {
        #expect(line(["helo": "\(value)"]).hasSuffix(" helo=\(printed)\n"))
    }
}
