import Testing

@testable import ElemtaConfiguration

/// `docs/configuration.md`, where each key has a heading, below it a paragraph with what the table
/// of keys says of it, and then what an operator should know.
@Suite("docs/configuration.md")
struct DocumentTests {
    /// The keys of a directory, which `auth.ldap` and an entry of `recipients` share.
    private static let repeated = "recipients[].ldap."

    @Test("has a heading for each key, in the order of the table, and for nothing else")
    func everyKeyHasAHeading() throws {
        let documented = try chapters().map(\.path)
        let keys = Configuration.keys.map(\.path).filter { !$0.hasPrefix(Self.repeated) }
        let missing = Set(keys).subtracting(documented).sorted()
        let unknown = Set(documented).subtracting(keys).sorted()
        #expect(missing.isEmpty && unknown.isEmpty, "missing \(missing), no keys \(unknown)")
        #expect(documented == keys)
    }

    @Test("says of each key what the table says: type, default, allowed values and variables")
    func everyKeyIsAsInTheTable() throws {
        let keys = Dictionary(uniqueKeysWithValues: Configuration.keys.map { ($0.path, $0) })
        for chapter in try chapters() {
            guard let key = keys[chapter.path] else { continue }
            #expect(chapter.facts == facts(of: key), "\(chapter.path)")
        }
    }

    @Test("says in its own words what each key does")
    func everyKeyHasWords() throws {
        for chapter in try chapters() {
            #expect(chapter.words > 3, "\(chapter.path)")
        }
    }

    @Test("may leave the directory of an entry of recipients to auth.ldap")
    func directoriesAreTheSame() {
        let keys = Configuration.keys
        let shared = keys.filter { $0.path.hasPrefix("auth.ldap.") }
        let ofRecipients = keys.filter { $0.path.hasPrefix(Self.repeated) }
        #expect(!shared.isEmpty && shared.count == ofRecipients.count)
        for (left, right) in zip(shared, ofRecipients) {
            #expect(
                left.path.dropFirst("auth.ldap.".count) == right.path.dropFirst(Self.repeated.count)
            )
            #expect(left.type == right.type && left.defaultValue == right.defaultValue)
            #expect(left.allowed == right.allowed)
        }
    }
}

/// What the document says of a key.
private struct Chapter {
    let path: String
    /// The paragraph below the heading, on one line.
    var facts = ""
    /// How many words follow it.
    var words = 0
}

private func chapters() throws -> [Chapter] {
    let octets = try readConfigurationFile(sampleFolder + "/../docs/configuration.md")
    var chapters: [Chapter] = []
    var isInFacts = false
    var isBeforeFacts = false
    for line in String(decoding: octets, as: UTF8.self)
        .split(separator: "\n", omittingEmptySubsequences: false)
    {
        if line.hasPrefix("### `"), line.hasSuffix("`") {
            chapters.append(Chapter(path: String(line.dropFirst(5).dropLast())))
            (isBeforeFacts, isInFacts) = (true, false)
        } else if line.hasPrefix("#") || chapters.isEmpty {
            (isBeforeFacts, isInFacts) = (false, false)
        } else if line.isEmpty {
            isInFacts = false
        } else if isBeforeFacts || isInFacts {
            let separator = isBeforeFacts ? "" : " "
            chapters[chapters.count - 1].facts += separator + line
            (isBeforeFacts, isInFacts) = (false, true)
        } else {
            chapters[chapters.count - 1].words += line.split(separator: " ").count
        }
    }
    return chapters
}

/// The paragraph that the document has below a key's heading.
private func facts(of key: KeyDescription) -> String {
    var text = key.type
    switch key.defaultValue {
    case nil: text += ", required."
    case .some(let value): text += ", default \(written(value))."
    }
    text += " Allowed: \(key.allowed)."
    if let alias = key.alias { text += " Also called `\(alias)`." }
    if let name = key.environmentVariable {
        text += " Environment: `\(name)`"
        if let secret = key.secretVariable { text += ", or `\(secret)` for the secret itself" }
        text += "."
    }
    return text
}

/// Values as code, words as words.
private func written(_ value: String) -> String {
    let isValue =
        ["true", "false"].contains(value) || Int(value) != nil
        || ["\"", "["].contains { value.hasPrefix($0) }
    return isValue ? "`\(value)`" : value
}
