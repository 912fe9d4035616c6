/// One JSON object (RFC 8259) on one line, members in the order in which they were added.
struct JSONObject {
    private var members: [String] = []

    mutating func add(_ name: String, _ value: String?) {
        members.append("\(Self.quoted(name)):\(value.map(Self.quoted) ?? "null")")
    }

    mutating func add(_ name: String, _ value: Int) {
        members.append("\(Self.quoted(name)):\(value)")
    }

    mutating func add(_ name: String, _ value: Bool) {
        members.append("\(Self.quoted(name)):\(value)")
    }

    mutating func add(_ name: String, _ values: [String]) {
        members.append(
            "\(Self.quoted(name)):[\(values.map(Self.quoted).joined(separator: ","))]")
    }

    mutating func add(_ name: String, _ values: [JSONObject]) {
        members.append("\(Self.quoted(name)):[\(values.map(\.text).joined(separator: ","))]")
    }

    var text: String { "{\(members.joined(separator: ","))}" }

    var line: [UInt8] { Array("\(text)\n".utf8) }

    /// Controls as `\u00XX`, also those of the C1 range and the Unicode line ends, so that the
    /// line stays one wherever it is printed.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
