import Glibc

extension Configuration {
    /// The environment of this process.
    public static func processEnvironment() -> [String: String] {
        var variables: [String: String] = [:]
        // Safe because nothing in this process changes the environment while it starts: the array
        // ends with nil and each element is a C string.
        var next = unsafe environ
        while let entry = unsafe next.pointee {
            let text = unsafe String(cString: entry)
            if let mark = text.firstIndex(of: "=") {
                variables[String(text[..<mark])] = String(text[text.index(after: mark)...])
            }
            unsafe next += 1
        }
        return variables
    }

    /// Puts the values of `ELEMTA_...` variables in the place of what the file says.
    static func applyEnvironment(
        _ environment: [String: String], to root: inout ConfigurationNode,
        _ findings: inout Findings
    ) {
        var unknown = Set(environment.keys.filter { $0.hasPrefix("ELEMTA_") })
        unknown.remove("ELEMTA_CONFIG")
        let keys = keys.filter { !$0.path.contains("[]") }
        for key in keys {
            var given: [(name: String, value: ConfigurationNode.Scalar)] = []
            for name in [key.path, key.alias].compactMap({ $0 }).map(environmentName) {
                if let value = environment[name] { given.append((name, .untyped(value))) }
                unknown.remove(name)
            }
            if let name = key.secretVariable, let value = environment[name] {
                given.append((name, .secret(Secret(value))))
                unknown.remove(name)
            }
            guard let (name, value) = given.first else { continue }
            let origin = ConfigurationOrigin.environment(name)
            if given.count > 1 {
                findings.refuse(
                    key.path, at: origin, "\(given[1].name) is given too; allowed: one of them")
            } else if let node = node(value, of: key, at: origin, &findings) {
                root.put(node, at: key, &findings)
            }
        }
        let known = keys.compactMap(\.environmentVariable)
        for name in unknown.sorted() {
            findings.warn(
                "", at: .environment(printable(name, quoted: false)),
                "unknown, ignored\(nearestName(to: name, among: known))")
        }
    }

    /// What a variable holds; nil when it is to be JSON and isn't, which the findings then say.
    private static func node(
        _ value: ConfigurationNode.Scalar, of key: KeyDescription, at origin: ConfigurationOrigin,
        _ findings: inout Findings
    ) -> ConfigurationNode? {
        guard key.holdsMaps, case .untyped(let text) = value else {
            return ConfigurationNode(.scalar(value), at: origin)
        }
        if text.utf8.allSatisfy({ $0 == UInt8(ascii: " ") }) {
            return ConfigurationNode(.list([]), at: origin)
        }
        // JSON is YAML.
        return parseYAML(text, key: key.path, at: { _ in origin }, &findings)
    }

    /// Puts what the command line says in the place of everything else.
    static func applyOverrides(
        _ overrides: [Override], to root: inout ConfigurationNode, _ findings: inout Findings
    ) {
        for override in overrides {
            let origin = ConfigurationOrigin.commandLine(override.option)
            guard let key = keys.first(where: { $0.path == override.key }), key.isOverridable,
                !key.holdsMaps
            else {
                findings.refuse(override.key, at: origin, "cannot be given on the command line")
                continue
            }
            let node = ConfigurationNode(.scalar(.untyped(override.value)), at: origin)
            root.put(node, at: key, &findings)
        }
    }
}

/// Platforms inject many names: a suggestion only where one is near, never the whole list.
private func nearestName(to name: String, among known: [String]) -> String {
    let nearest = known.map { (name: $0, distance: editDistance(name, $0)) }
        .min { $0.distance < $1.distance }
    guard let nearest, nearest.distance <= 2 else { return "" }
    return "; did you mean \(nearest.name)?"
}

extension ConfigurationNode {
    /// Puts `node` in the place of whatever the tree has for `key`.
    fileprivate mutating func put(
        _ node: ConfigurationNode, at key: KeyDescription, _ findings: inout Findings
    ) {
        // The two exclude each other: what has precedence replaces both.
        if key.path == "listen_addr", let listeners = remove(["listeners"]) {
            findings.warn("listeners", at: listeners.origin, "replaced by \(node.origin)")
        }
        if key.path == "listeners", case .file? = member("listen_addr")?.origin,
            let address = remove(["listen_addr"])
        {
            findings.warn("listen_addr", at: address.origin, "replaced by \(node.origin)")
        }
        if let alias = key.alias { remove([alias]) }
        let path = key.path.split(separator: ".").map(String.init)
        put(node, at: path[...])
    }

    /// Makes the maps on the way that are missing; what is there and no map stays, to be refused
    /// for what it is.
    private mutating func put(_ node: ConfigurationNode, at path: ArraySlice<String>) {
        guard let name = path.first else {
            self = node
            return
        }
        if case .scalar(.null) = content { self = ConfigurationNode(.map([]), at: origin) }
        guard case .map(var members) = content else { return }
        // Emptied first, so that the members are changed in place.
        content = .map([])
        let rest = path.dropFirst()
        if let index = members.firstIndex(where: { $0.key == name }) {
            let origin = rest.isEmpty ? node.origin : members[index].origin
            var value = members[index].value
            value.put(node, at: rest)
            members[index] = Member(key: name, origin: origin, value: value)
        } else {
            var value = ConfigurationNode(.map([]), at: node.origin)
            value.put(node, at: rest)
            members.append(Member(key: name, origin: node.origin, value: value))
        }
        content = .map(members)
    }

    private func member(_ name: String) -> Member? {
        guard case .map(let members) = content else { return nil }
        return members.first { $0.key == name }
    }

    @discardableResult
    private mutating func remove(_ names: [String]) -> Member? {
        guard case .map(var members) = content else { return nil }
        guard let index = members.firstIndex(where: { names.contains($0.key) }) else { return nil }
        let removed = members.remove(at: index)
        content = .map(members)
        return removed
    }
}
