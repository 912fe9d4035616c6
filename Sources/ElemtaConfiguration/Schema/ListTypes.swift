extension ValueType {
    /// A list; `count` says how many elements it may have.
    static func list<Element: Sendable>(
        _ element: ValueType<Element>, count: ClosedRange<Int> = 0...100_000
    ) -> ValueType where Value == [Element] {
        let least = count.lowerBound > 0 ? ", at least \(count.lowerBound)" : ""
        let allowed = "a list\(least) (each: \(element.allowed))"
        return ValueType(
            name: "list of \(element.name)s", allowed: allowed,
            holdsMaps: element.holdsMaps,
            read: { node, path, findings in
                guard let nodes = node.elements else {
                    findings.refuse(node, path, allowed: allowed)
                    return nil
                }
                guard count.contains(nodes.count) else {
                    findings.refuse(
                        path, at: node.origin,
                        "found \(nodes.count) elements; allowed: "
                            + "\(count.lowerBound) to \(count.upperBound)")
                    return nil
                }
                var isWhole = true
                var elements: [Element] = []
                for (index, node) in nodes.enumerated() {
                    let place = "\(path)[\(index)]"
                    findings.note(place, at: node.origin)
                    if let value = element.read(node, place, &findings) {
                        elements.append(value)
                    } else {
                        isWhole = false
                    }
                }
                return isWhole ? elements : nil
            },
            show: { "[\($0.map(element.show).joined(separator: ", "))]" },
            members: { element.members($0 + "[]") })
    }

    /// The same, and nil when the key is absent.
    static func optionalList<Element: Sendable>(
        _ element: ValueType<Element>
    ) -> ValueType where Value == [Element]? {
        let list = ValueType<[Element]>.list(element)
        return ValueType(
            name: list.name, allowed: list.allowed,
            read: { node, path, findings in list.read(node, path, &findings).map { .some($0) } },
            show: { $0.map(list.show) ?? "" })
    }

    /// A map of keys that is an element of a list or a value that may be absent.
    ///
    /// - Parameters:
    ///   - initial: the defaults; what stands for required keys is never seen.
    ///   - finish: makes the value of the keys read, or refuses.
    static func record<Draft: Sendable>(
        _ entries: [Entry<Draft>], initial: Draft,
        finish: @escaping @Sendable (Draft, String, inout Findings) -> Value?
    ) -> ValueType {
        ValueType(
            name: "map", allowed: "a map of keys: \(entries.map(\.name).joined(separator: ", "))",
            holdsMaps: true,
            read: { node, path, findings in
                var draft = initial
                guard entries.read(node, path, into: &draft, &findings) else { return nil }
                return finish(draft, path, &findings)
            },
            show: { _ in "{}" },
            members: { path in
                entries.flatMap { $0.describe(path + ".", initial) }.map(\.withoutVariable)
            })
    }

    static func record(_ entries: [Entry<Value>], initial: Value) -> ValueType {
        .record(entries, initial: initial) { value, _, _ in value }
    }
}

extension KeyDescription {
    /// The same for a key inside an element of a list, which no variable can name.
    fileprivate var withoutVariable: KeyDescription {
        KeyDescription(
            path: path, alias: alias, type: type, allowed: allowed, defaultValue: defaultValue,
            summary: summary, isOverridable: false, holdsMaps: holdsMaps, holdsSecret: holdsSecret)
    }
}

extension ConfigurationNode {
    /// The elements of a list; those of a variable are separated by commas, and an empty variable
    /// is an empty list.
    fileprivate var elements: [ConfigurationNode]? {
        switch content {
        case .list(let nodes):
            return nodes
        case .scalar(.untyped(let text)):
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
                .map(trimmingSpaces)
            if parts == [""] { return [] }
            return parts.map { ConfigurationNode(.scalar(.untyped($0)), at: origin) }
        case .scalar, .map:
            return nil
        }
    }
}

private func trimmingSpaces(_ text: Substring) -> String {
    func isSpace(_ character: Character) -> Bool { character == " " || character == "\t" }
    let head = text.drop(while: isSpace)
    return String(head.reversed().drop(while: isSpace).reversed())
}
