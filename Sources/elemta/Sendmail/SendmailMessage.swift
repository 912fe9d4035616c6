import ElemtaSMTP

/// A message that was handed to sendmail: its header section as it will be sent, its body, and whom
/// the header names.
struct SendmailMessage {
    /// A field that should hold addresses and doesn't.
    struct Failure: Error, Equatable, CustomStringConvertible {
        let field: String

        var description: String { "the field \(field) holds no address list" }
    }

    /// One field with its name in lower case and all its lines, with their ends.
    struct Field: Equatable {
        let name: String
        var lines: ArraySlice<UInt8>

        /// What follows the colon.
        var body: ArraySlice<UInt8> {
            lines[(lines.firstIndex(of: UInt8(ascii: ":")).map { $0 + 1 } ?? lines.endIndex)...]
        }
    }

    /// Blind copies, and what only whoever delivers may write (RFC 5321 4.4).
    private static let dropped: Set = ["bcc", "resent-bcc", "return-path"]

    private(set) var fields: [Field] = []
    private let body: ArraySlice<UInt8>

    /// `input` has lines that end with CRLF. What doesn't begin with a field has no header section. A
    /// line that begins with `From ` comes from an mbox file and is dropped.
    init(_ input: [UInt8]) {
        var rest = input[...]
        if rest.starts(with: Array("From ".utf8)) { rest = rest[Self.endOfLine(rest)...] }
        while let line = Self.firstLine(of: rest) {
            if Self.isBlank(line.first), !fields.isEmpty {
                // A folded line, also one of blanks alone (RFC 5322 4.2).
                fields[fields.count - 1].lines += line
            } else if let name = Self.fieldName(of: line) {
                fields.append(Field(name: name, lines: line))
            } else {
                break
            }
            rest = rest[line.endIndex...]
        }
        // The empty line between the two is written anew.
        body = rest.starts(with: Array("\r\n".utf8)) ? rest.dropFirst(2) : rest
    }

    func has(_ name: String) -> Bool { fields.contains { $0.name == name } }

    /// Whom `To`, `Cc` and `Bcc` name; where there is a `Resent-` field of these, whom those name.
    func recipients() throws(Failure) -> [HeaderAddress] {
        let names = ["to", "cc", "bcc"]
        let resent = names.map { "resent-\($0)" }
        let wanted = fields.contains { resent.contains($0.name) } ? resent : names
        var recipients: [HeaderAddress] = []
        for field in fields where wanted.contains(field.name) {
            guard let list = AddressList(Array(field.body)) else {
                throw Failure(field: field.name)
            }
            recipients += list.addresses
        }
        return recipients
    }

    /// Adds a field behind the others. `text` is what follows the colon and a blank.
    mutating func add(_ name: String, _ text: String) {
        let octets = Array("\(name): \(text)\r\n".utf8)
        fields.append(Field(name: name.lowercased(), lines: octets[...]))
    }

    /// The whole message, without blind copies.
    var octets: [UInt8] {
        var octets: [UInt8] = []
        for field in fields where !Self.dropped.contains(field.name) { octets += field.lines }
        return octets + Array("\r\n".utf8) + Array(body)
    }

    /// Whether the header section needs SMTPUTF8 (RFC 6531).
    var isInternationalized: Bool {
        fields.contains { !Self.dropped.contains($0.name) && $0.lines.contains { $0 > 127 } }
    }

    // MARK: Lines

    private static func firstLine(of rest: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        rest.isEmpty ? nil : rest[..<endOfLine(rest)]
    }

    private static func endOfLine(_ rest: ArraySlice<UInt8>) -> Int {
        rest.firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? rest.endIndex
    }

    private static func isBlank(_ octet: UInt8?) -> Bool {
        octet == UInt8(ascii: " ") || octet == UInt8(ascii: "\t")
    }

    /// `field-name = 1*ftext`, RFC 5322 3.6.8, and the blanks before the colon of 4.5.
    private static func fieldName(of line: ArraySlice<UInt8>) -> String? {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        var name = line[..<colon]
        while isBlank(name.last) { name.removeLast() }
        guard !name.isEmpty, name.allSatisfy({ (33...126).contains($0) }) else { return nil }
        return String(decoding: name, as: UTF8.self).lowercased()
    }
}
