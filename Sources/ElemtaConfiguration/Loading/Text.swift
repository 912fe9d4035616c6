/// The text of a file, ready for either parser: UTF-8 without control octets other than those that
/// both formats know, the byte-order mark removed.
func checkedText(
    _ octets: [UInt8], of path: String, _ findings: inout Findings
) -> String? {
    if let place = octets.firstIndex(where: isForbiddenControl) {
        let line = lineNumber(of: place, in: octets)
        let name = octets[place] == 0 ? "a NUL octet" : "the control octet \(octets[place])"
        findings.refuse(
            "", at: .file(path, line: line),
            "found \(name); allowed: UTF-8 text, not a binary file")
        return nil
    }
    let content = octets.starts(with: [0xEF, 0xBB, 0xBF]) ? octets.dropFirst(3) : octets[...]
    guard let text = String(validating: content, as: UTF8.self) else {
        // Lines end with an octet that no UTF-8 sequence contains: each can be checked by itself.
        let lines = content.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let index = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil }
        findings.refuse(
            "", at: .file(path, line: index.map { $0 + 1 }),
            "found octets that are not UTF-8; allowed: UTF-8 text")
        return nil
    }
    return text
}

private func isForbiddenControl(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"): false
    default: octet < 0x20 || octet == 0x7F
    }
}

/// The line, counted from 1, in which the octet at `place` is.
func lineNumber(of place: Int, in octets: some Collection<UInt8>) -> Int {
    1 + octets.prefix(place).count { $0 == UInt8(ascii: "\n") }
}
