import TOMLKit

/// Reads TOML text into a tree; nil when it is no TOML, which the findings then say.
///
/// The outline is made first: it refuses what toml++ would not survive, and knows the lines, which
/// TOMLKit hands out for syntax errors only.
func parseTOML(
    _ text: String, of path: String, _ findings: inout Findings
) -> ConfigurationNode? {
    let outline: TOMLOutline
    do {
        outline = try TOMLOutline(text)
    } catch {
        findings.refuse("", at: .file(path, line: error.line), error.text)
        return nil
    }
    do {
        let table = try TOMLTable(string: text)
        return TOMLWalk(path: path, lines: outline.lines).node(table, .root, line: nil)
    } catch let error as TOMLParseError {
        findings.refuse(
            "", at: .file(path, line: error.source.begin.line),
            // toml++ quotes what it stumbled over: that needs more room than a value.
            printable(error.description, quoted: false, limit: 300))
        return nil
    } catch {
        findings.refuse("", at: .file(path, line: nil), "not TOML")
        return nil
    }
}

private struct TOMLWalk {
    let path: String
    let lines: [String: Int]

    func node(_ table: TOMLTable, _ place: TOMLPlace, line: Int?) -> ConfigurationNode {
        // Not the table's iterator: it asks for each key again and trusts that it is found.
        let members = table.keys.compactMap { key -> ConfigurationNode.Member? in
            guard let value = table[key] else { return nil }
            let inner = node(value, place.member(key), outerLine: line)
            return .init(key: key, origin: inner.origin, value: inner)
        }
        return ConfigurationNode(.map(members), at: .file(path, line: line))
    }

    /// What has no line of its own has that of what it is in.
    private func node(
        _ value: any TOMLValueConvertible, _ place: TOMLPlace, outerLine: Int?
    ) -> ConfigurationNode {
        let line = place.path.flatMap { lines[$0] } ?? outerLine
        let origin = ConfigurationOrigin.file(path, line: line)
        if let table = value.table { return node(table, place, line: line) }
        if let array = value.array {
            let elements = (0..<array.count).map {
                node(array[$0], place.element($0), outerLine: line)
            }
            return ConfigurationNode(.list(elements), at: origin)
        }
        return ConfigurationNode(.scalar(scalar(value)), at: origin)
    }

    private func scalar(_ value: any TOMLValueConvertible) -> ConfigurationNode.Scalar {
        switch value.type {
        case .bool: value.bool.map { .boolean($0) } ?? .other("a value")
        case .int: value.int.map { .integer($0) } ?? .other("a value")
        case .double: value.double.map { .number("\($0)") } ?? .other("a value")
        case .string: value.string.map { .text($0) } ?? .other("a value")
        case .date: .other("a date")
        case .time: .other("a time")
        case .dateTime: .other("a date and time")
        case .table, .array: .other("a value")
        }
    }
}
