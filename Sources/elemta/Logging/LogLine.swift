import ElemtaSMTP
import Glibc
import Logging

/// One log line, as text (`2026-01-31T12:00:00.123Z info message_accepted id=... key=value`) or as a
/// JSON object (`{"time":"...","level":"info","event":"message_accepted","id":"..."}`).
///
/// Values are escaped, so that nothing a client sent can end a line or pass for another field.
enum LogLine {
    enum Form: Sendable {
        case text
        case json
    }

    static func append(_ entry: LogWriter.Entry, as form: Form, to text: inout [UInt8]) {
        switch form {
        case .text: appendText(entry, to: &text)
        case .json: appendJSON(entry, to: &text)
        }
    }

    private static func appendJSON(_ entry: LogWriter.Entry, to text: inout [UInt8]) {
        var object = JSONObject()
        var time: [UInt8] = []
        appendTime(entry.time, to: &time)
        object.add("time", String(decoding: time, as: UTF8.self))
        object.add("level", entry.level.rawValue)
        object.add("event", entry.event)
        forEachField(of: entry) { name, value in
            switch value {
            case .number(let number): object.add(name, number)
            case .text, .described:
                let text = value.description
                if LogField(rawValue: name)?.isNumber == true, let number = Int(text) {
                    object.add(name, number)
                } else {
                    object.add(name, text)
                }
            }
        }
        text.append(contentsOf: object.line)
    }

    /// By their names.
    private static func forEachField(
        of entry: LogWriter.Entry, _ body: (String, LogValue) -> Void
    ) {
        let all = entry.fields.all
        for place in all.indices.sorted(by: { all[$0].name < all[$1].name }) {
            body(all[place].name, all[place].value)
        }
    }

    private static func appendText(_ entry: LogWriter.Entry, to text: inout [UInt8]) {
        appendTime(entry.time, to: &text)
        text.append(UInt8(ascii: " "))
        text.append(contentsOf: entry.level.rawValue.utf8)
        text.append(UInt8(ascii: " "))
        text.append(contentsOf: entry.event.utf8)
        forEachField(of: entry) { name, value in
            text.append(UInt8(ascii: " "))
            text.append(contentsOf: name.utf8)
            text.append(UInt8(ascii: "="))
            switch value {
            case .number(let number): text.append(digits: number)
            case .text, .described: appendValue(value.description, to: &text)
            }
        }
        text.append(UInt8(ascii: "\n"))
    }

    /// Bare when it can't be mistaken, else in quotes with `\"`, `\\` and `\xHH`.
    private static func appendValue(_ value: String, to text: inout [UInt8]) {
        if isPlain(value.utf8Span.span) {
            text.append(contentsOf: value.utf8)
            return
        }
        text.append(quote)
        for scalar in value.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { text.append(backslash) }
            for octet in UTF8.encode(scalar).map(Array.init) ?? [] {
                if scalar.isHarmless {
                    text.append(octet)
                } else {
                    text.append(contentsOf: [backslash, UInt8(ascii: "x")])
                    text.append(hexDigit(octet >> 4))
                    text.append(hexDigit(octet & 0xF))
                }
            }
        }
        text.append(quote)
    }

    private static func isPlain(_ value: Span<UInt8>) -> Bool {
        for position in value.indices {
            let octet = value[position]
            guard octet > 0x20, octet < 0x7F, octet != quote, octet != backslash,
                octet != UInt8(ascii: "=")
            else { return false }
        }
        return !value.isEmpty
    }

    private static let quote = UInt8(ascii: "\"")
    private static let backslash = UInt8(ascii: "\\")

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    private static func appendTime(_ time: timespec, to text: inout [UInt8]) {
        UnixTime(seconds: Int64(time.tv_sec)).appendRFC3339(to: &text)
        text.append(UInt8(ascii: "."))
        text.append(digits: time.tv_nsec / 1_000_000, atLeast: 3)
        text.append(UInt8(ascii: "Z"))
    }
}
