/// Puts the lines of a report together and keeps count of what they hold.
struct ReportWriter {
    private(set) var octets: [UInt8] = []
    private(set) var isEightBit = false
    private(set) var longestLine = 0

    /// RFC 5322 2.1.1 asks for lines of at most 78 characters.
    private static let foldingWidth = 78
    /// RFC 5321 4.5.3.1.6 without its CRLF.
    private static let longestAllowed = 998

    mutating func line(_ text: String) {
        var count = 0
        for octet in text.utf8.prefix(Self.longestAllowed) {
            octets.append(octet)
            if octet > 127 { isEightBit = true }
            count += 1
        }
        longestLine = max(longestLine, count)
        octets.append(contentsOf: [13, 10])
    }

    mutating func field(_ name: String, _ value: String) {
        folded("\(name): ", value, indent: " ")
    }

    /// Writes `text` in lines of bounded length, broken at spaces where there are any.
    mutating func folded(_ prefix: String, _ text: String, indent: String) {
        var current = prefix.isEmpty ? indent : prefix
        var isFirstWord = true
        for word in text.split(separator: " ") {
            if !isFirstWord {
                if current.utf8.count + 1 + word.utf8.count > Self.foldingWidth {
                    line(current)
                    current = indent
                } else {
                    current += " "
                }
            }
            current += word
            isFirstWord = false
        }
        line(current)
    }

    /// Octets from elsewhere as text for a line of ours: no control characters, and what isn't
    /// ASCII only if it may be and is UTF-8.
    func printable(_ text: [UInt8], utf8: Bool) -> String {
        var result = ""
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            let isControl = scalar.value < 32 || (127..<160).contains(scalar.value)
            if isControl {
                result += " "
            } else if scalar.value < 127 || utf8 {
                result.unicodeScalars.append(scalar)
            } else {
                result += "?"
            }
        }
        return result
    }

    /// Content that is faithful for DATA as it is; ends with CRLF afterwards.
    mutating func verbatim(_ content: [UInt8]) {
        octets.append(contentsOf: content)
        var count = 0
        for octet in content {
            if octet > 127 { isEightBit = true }
            count = octet == 10 ? 0 : count + 1
            longestLine = max(longestLine, count)
        }
        if content.last != 10 { octets.append(contentsOf: [13, 10]) }
    }

    /// The header section of `content` in lines that can be sent: those that end with LF alone end
    /// with CRLF, other control characters become "?", over-long lines are cut.
    static func headerSection(_ content: [UInt8]) -> [UInt8] {
        var section: [UInt8] = []
        var start = 0
        while start < content.count, start < DeliveryReport.returnedOctets {
            let end = content[start...].firstIndex(of: 10) ?? content.count
            var line = content[start..<end]
            if line.last == 13 { line = line.dropLast() }
            if line.isEmpty { break }
            for octet in line.prefix(longestAllowed) {
                let isControl = octet < 32 && octet != 9 || octet == 127
                section.append(isControl ? UInt8(ascii: "?") : octet)
            }
            section.append(contentsOf: [13, 10])
            start = end + 1
        }
        return section
    }
}
