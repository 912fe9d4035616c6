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
        object.add("event", entry.event.description)
        for (key, value) in (entry.metadata ?? [:]).sorted(by: { $0.key < $1.key }) {
            let value = value.description
            if LogField(rawValue: key)?.isNumber == true, let number = Int(value) {
                object.add(key, number)
            } else {
                object.add(key, value)
            }
        }
        text.append(contentsOf: object.line)
    }

    private static func appendText(_ entry: LogWriter.Entry, to text: inout [UInt8]) {
        appendTime(entry.time, to: &text)
        text.append(UInt8(ascii: " "))
        text.append(contentsOf: entry.level.rawValue.utf8)
        text.append(UInt8(ascii: " "))
        text.append(contentsOf: entry.event.description.utf8)
        for (key, value) in (entry.metadata ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.append(UInt8(ascii: " "))
            text.append(contentsOf: key.utf8)
            text.append(UInt8(ascii: "="))
            appendValue(value.description, to: &text)
        }
        text.append(UInt8(ascii: "\n"))
    }

    /// Bare when it can't be mistaken, else in quotes with `\"`, `\\` and `\xHH`.
    private static func appendValue(_ value: String, to text: inout [UInt8]) {
        let isPlain = value.utf8.allSatisfy { octet in
            octet > 0x20 && octet < 0x7F && octet != quote && octet != backslash
                && octet != UInt8(ascii: "=")
        }
        if isPlain && !value.isEmpty {
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

    private static let quote = UInt8(ascii: "\"")
    private static let backslash = UInt8(ascii: "\\")

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    private static func appendTime(_ time: timespec, to text: inout [UInt8]) {
        text.append(contentsOf: UnixTime(seconds: Int64(time.tv_sec)).rfc3339.utf8.prefix(19))
        let milliseconds = String(time.tv_nsec / 1_000_000)
        text.append(contentsOf: ".\(String(repeating: "0", count: 3 - milliseconds.count))".utf8)
        text.append(contentsOf: "\(milliseconds)Z".utf8)
    }
}
