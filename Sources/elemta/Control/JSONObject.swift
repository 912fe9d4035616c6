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

    /// What isn't harmless as `\uXXXX`, so that the line stays one, and reads as it is, wherever it
    /// is printed; above U+FFFF as a surrogate pair (RFC 8259 section 7).
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case _ where scalar.isHarmless: quoted.unicodeScalars.append(scalar)
            default:
                for unit in UTF16.encode(scalar).map(Array.init) ?? [] {
                    let digits = String(unit, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            }
        }
        return quoted + "\""
    }
}
