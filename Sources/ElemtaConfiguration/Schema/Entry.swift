/// One key, or one section of keys, of the settings in a `Root`.
struct Entry<Root: Sendable>: Sendable {
    let name: String
    /// A second name for the same key.
    let alias: String?
    let isRequired: Bool
    /// Reads the node into the root; what is wrong goes to the findings.
    let read: @Sendable (ConfigurationNode, String, inout Root, inout Findings) -> Void
    /// Every key in here; the text is the path up to and with the last dot.
    let describe: @Sendable (String, Root) -> [KeyDescription]
    /// The paths of the keys in here that have other values in the second root.
    let differences: @Sendable (String, Root, Root) -> [String]

    /// A key with a value.
    /// - Parameters:
    ///   - fallback: the default in words, where the value in `Root` doesn't say it.
    static func key<Value: Sendable & Equatable>(
        _ name: String, alias: String? = nil,
        _ keyPath: any WritableKeyPath<Root, Value> & Sendable,
        _ type: ValueType<Value>, default fallback: String? = nil, isRequired: Bool = false,
        _ summary: String
    ) -> Entry {
        Entry(
            name: name, alias: alias, isRequired: isRequired,
            read: { node, path, root, findings in
                if let value = type.read(node, path, &findings) { root[keyPath: keyPath] = value }
            },
            describe: { prefix, root in
                let path = prefix + name
                let description = KeyDescription(
                    path: path, alias: alias.map { prefix + $0 }, type: type.name,
                    allowed: type.allowed,
                    defaultValue: isRequired
                        ? nil : fallback ?? type.show(root[keyPath: keyPath]),
                    summary: summary, isOverridable: true, holdsMaps: type.holdsMaps,
                    holdsSecret: type.isSecret)
                return [description] + type.members(path)
            },
            differences: { prefix, before, after in
                before[keyPath: keyPath] == after[keyPath: keyPath] ? [] : [prefix + name]
            })
    }

    /// Keys below a name, in a struct of their own.
    static func section<Section: Sendable>(
        _ name: String, _ keyPath: any WritableKeyPath<Root, Section> & Sendable,
        _ entries: [Entry<Section>]
    ) -> Entry {
        Entry(
            name: name, alias: nil, isRequired: false,
            read: { node, path, root, findings in
                // `auth:` with every line below it commented out says nothing, and means that.
                if case .scalar(.null) = node.content { return }
                entries.read(node, path, into: &root[keyPath: keyPath], &findings)
            },
            describe: { prefix, root in
                entries.flatMap { $0.describe(prefix + name + ".", root[keyPath: keyPath]) }
            },
            differences: { prefix, before, after in
                entries.flatMap {
                    $0.differences(
                        prefix + name + ".", before[keyPath: keyPath], after[keyPath: keyPath])
                }
            })
    }

    func answers(to key: String) -> Bool {
        key == name || key == alias
    }
}

extension Array {
    /// Reads a map of the keys described by these entries into `root`.
    /// - Returns: false when something in it was refused.
    @discardableResult
    func read<Root>(
        _ node: ConfigurationNode, _ path: String, into root: inout Root,
        _ findings: inout Findings
    ) -> Bool where Element == Entry<Root> {
        guard case .map(let members) = node.content else {
            findings.refuse(node, path, allowed: "a map of keys")
            return false
        }
        let problems = findings.problemCount
        let prefix = path.isEmpty ? "" : path + "."
        let names = flatMap { [$0.name, $0.alias].compactMap { $0 } }
        var given: [String: ConfigurationNode.Member] = [:]
        for member in members {
            let memberPath = prefix + printable(member.key, quoted: false)
            guard let entry = first(where: { $0.answers(to: member.key) }) else {
                let hint = findings.isFull ? "" : suggestion(for: member.key, among: names)
                let text = "unknown key\(hint)"
                findings.refuse(memberPath, at: member.origin, text)
                continue
            }
            if let first = given.updateValue(member, forKey: entry.name) {
                let text = "is another name for \(prefix)\(first.key), given at \(first.origin)"
                findings.refuse(memberPath, at: member.origin, text)
            }
            findings.note(prefix + entry.name, at: member.origin)
            entry.read(member.value, memberPath, &root, &findings)
        }
        for entry in self where entry.isRequired && given[entry.name] == nil {
            findings.refuse(prefix + entry.name, at: node.origin, "missing, and has no default")
        }
        return findings.problemCount == problems
    }
}

/// What follows "unknown key": the nearest known one, or all of them.
func suggestion(for key: String, among known: [String]) -> String {
    let nearest = known.map { (name: $0, distance: editDistance(key, $0)) }
        .min { $0.distance < $1.distance }
    if let nearest, nearest.distance <= max(2, nearest.name.utf8.count / 3) {
        return "; did you mean \(nearest.name)?"
    }
    return "; known here: \(known.joined(separator: ", "))"
}

/// Octets to insert, delete, replace or swap with their neighbour to make one name of the other
/// (optimal string alignment). Only the first 64 octets of `written` are looked at, which bounds
/// the time a hostile key can cost.
func editDistance(_ written: String, _ known: String) -> Int {
    let from = Array(written.utf8.prefix(64))
    let to = Array(known.utf8)
    var beforePrevious: [Int] = []
    var previous = Array(0...to.count)
    for (row, octet) in from.enumerated() {
        var current = [row + 1]
        for (column, other) in to.enumerated() {
            var cost = min(
                previous[column] + (octet == other ? 0 : 1), previous[column + 1] + 1,
                current[column] + 1)
            if row > 0, column > 0, octet == to[column - 1], from[row - 1] == other {
                cost = min(cost, beforePrevious[column - 1] + 1)
            }
            current.append(cost)
        }
        beforePrevious = previous
        previous = current
    }
    return previous[to.count]
}
