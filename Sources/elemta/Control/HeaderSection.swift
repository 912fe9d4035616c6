/// The header section of a message (RFC 5322 2.1): its lines up to the empty one, or as far as
/// `octetLimit` goes.
struct HeaderSection {
    /// Octets that are looked at.
    static let octetLimit = 64 * 1024

    /// The lines with their ends.
    private let lines: [ArraySlice<UInt8>]

    /// `content` is a message, or its first `octetLimit` octets.
    init(of content: [UInt8]) {
        var lines: [ArraySlice<UInt8>] = []
        var rest = content.prefix(Self.octetLimit)
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")), !Self.isEmpty(rest[..<end]) {
            lines.append(rest[...end])
            rest = rest[(end + 1)...]
        }
        let isCut = !rest.contains(UInt8(ascii: "\n"))
        if isCut, !rest.isEmpty { lines.append(rest) }
        self.lines = lines
    }

    var octets: [UInt8] { Array(lines.joined()) }

    /// The body of the first field with this name (in lower case), unfolded (RFC 5322 2.2.3).
    func field(_ name: String) -> [UInt8]? {
        let start = Array("\(name):".utf8)
        guard
            let first = lines.firstIndex(where: { line in
                line.count >= start.count && zip(line, start).allSatisfy { Self.isSame($0, $1) }
            })
        else { return nil }
        let continued = lines[(first + 1)...].prefix { line in
            line.first == UInt8(ascii: " ") || line.first == UInt8(ascii: "\t")
        }
        let body = [lines[first].dropFirst(start.count)] + continued
        return Array(body.map(Self.withoutEnd).joined())
    }

    private static func isEmpty(_ line: ArraySlice<UInt8>) -> Bool {
        line.isEmpty || line.elementsEqual([UInt8(ascii: "\r")])
    }

    /// `lower` is a small letter or no letter at all.
    private static func isSame(_ octet: UInt8, _ lower: UInt8) -> Bool {
        octet == lower
            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(octet)
                && octet | 0x20 == lower
    }

    private static func withoutEnd(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var line = line
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
    }
}
