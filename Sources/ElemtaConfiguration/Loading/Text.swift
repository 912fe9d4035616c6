/// The text of a file, ready for either parser: UTF-8 without NUL, the byte-order mark removed.
func checkedText(
    _ octets: [UInt8], of path: String, _ findings: inout Findings
) -> String? {
    if let place = octets.firstIndex(of: 0) {
        let line = lineNumber(of: place, in: octets)
        findings.refuse(
            "", at: .file(path, line: line),
            "found a NUL octet; allowed: UTF-8 text, not a binary file")
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

/// The line, counted from 1, in which the octet at `place` is.
func lineNumber(of place: Int, in octets: some Collection<UInt8>) -> Int {
    1 + octets.prefix(place).count { $0 == UInt8(ascii: "\n") }
}
