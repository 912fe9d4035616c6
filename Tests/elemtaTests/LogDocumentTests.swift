import Testing

@testable import elemta

private let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
    .joined(separator: "/")

/// The cells of the rows of tables whose first cell is a name in backquotes, by the heading above.
private func rows(of document: String) throws -> [(heading: String, cells: [String])] {
    var rows: [(heading: String, cells: [String])] = []
    var heading = ""
    for line in try #require(SmallFile.read("\(root)/docs/\(document)")).split(separator: "\n") {
        if line.hasPrefix("## ") { heading = String(line.dropFirst(3)) }
        guard line.hasPrefix("| `") else { continue }
        let cells = line.split(separator: "|").map { cell in
            String(cell.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        rows.append((heading, cells))
    }
    return rows
}

private func sources(in folder: String) -> [String] {
    SmallFile.names(in: folder).flatMap { name in
        name.hasSuffix(".swift") ? ["\(folder)/\(name)"] : sources(in: "\(folder)/\(name)")
    }
}

private func quoted(_ fields: [LogField]) -> String {
    fields.map { "`\($0.rawValue)`" }.joined(separator: " ")
}

@Suite("docs/logging.md") struct LogDocumentTests {
    @Test("has a row for each event, as the table in the code has it, and for nothing else")
    func events() throws {
        let documented = try rows(of: "logging.md").filter { $0.heading != "Fields" }.map(\.cells)
        let declared = LogName.allCases.map { name in
            [
                "`\(name.rawValue)`", "\(name.level)",
                quoted(name.fields.filter { $0 != .repeated }),
                name.sameness.map { $0.isEmpty ? "event" : quoted($0) } ?? "",
            ]
        }
        #expect(documented.map { Array($0.prefix(4)) } == declared)
        for row in documented { #expect(row.count == 5 && row[4].count > 5, "\(row)") }
    }

    @Test("has a row for each field that an event has, and for nothing else")
    func fields() throws {
        let documented = try rows(of: "logging.md").filter { $0.heading == "Fields" }.map(\.cells)
        let used = Set(LogName.allCases.flatMap(\.fields))
        #expect(documented.map(\.[0]) == used.map(\.rawValue).sorted().map { "`\($0)`" })
        #expect(used == Set(LogField.allCases), "a field that no event has")
        for row in documented { #expect(row.count == 2, "\(row)") }
    }
}

@Suite("LogName") struct LogNameTests {
    @Test("names are words of small letters, and lines are the same by fields that they have")
    func names() {
        let letters = Set("abcdefghijklmnopqrstuvwxyz_")
        for name in LogName.allCases {
            #expect(name.rawValue.allSatisfy(letters.contains))
            #expect(LogName(rawValue: name.rawValue) == name)
            #expect(Set(name.fields).count == name.fields.count)
            #expect(Set(name.sameness ?? []).isSubset(of: name.fields), "\(name)")
            #expect((name.sameness ?? []).count <= 2, "\(name)")
        }
    }

    @Test("nothing is logged but by a name of the table")
    func noOtherNames() throws {
        var looked = 0
        for file in sources(in: "\(root)/Sources/elemta") {
            let text = try #require(SmallFile.read(file))
            for level in ["debug", "info", "notice", "warning", "error", "critical"] {
                #expect(!text.contains("log.\(level)("), "\(file): log.write(.name, ...)")
            }
            looked += 1
        }
        #expect(looked > 50)
    }
}
