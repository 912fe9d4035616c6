import ElemtaSMTP

/// Reads an address file, line by line:
///
///     # a comment, also behind a blank in a line
///     alice                                a local part
///     bob@example.com                      an address
///     sales: alice, carol@example.net,     an alias; a comma at the end: the next line goes on
///         dave
///     *: alice                             everybody else, here as an alias
struct AddressTableBuilder {
    private(set) var entries: [AddressTable.Key: AddressTable.Entry] = [:]
    private(set) var findings: FileFindings
    /// Each domain once: a million addresses of one share its octets.
    private var domains: [Domain: Domain] = [:]

    private typealias Octets = ArraySlice<UInt8>

    /// Octets of what was found that an error repeats.
    private static let shownCount = 80
    private static let allowedNames =
        "an address, a local part, \"*\" or alias: target, target"

    init(path: String) {
        findings = FileFindings(path: path)
    }

    mutating func add(_ octets: [UInt8]) {
        let content = octets.starts(with: [0xEF, 0xBB, 0xBF]) ? octets.dropFirst(3) : octets[...]
        // What an editor or a script leaves between emptying and writing is not a file without
        // addresses.
        guard content.contains(where: { !isBlank($0) }) else {
            return findings.refuse(
                "is empty; allowed: addresses, or a comment where there are none")
        }
        var begun: (line: Int, octets: [UInt8])?
        let lines = content.split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, whole) in lines.enumerated() {
            let line = Self.trimmed(Self.withoutComment(whole))
            if line.isEmpty { continue }
            let first = begun?.line ?? index + 1
            let gathered = (begun?.octets ?? []) + line
            if line.last == UInt8(ascii: ",") {
                begun = (first, gathered)
            } else {
                add(gathered[...], line: first)
                begun = nil
            }
        }
        if let begun { findings.refuse(line: begun.line, "ends with a comma, and nothing follows") }
    }

    private mutating func add(_ text: Octets, line: Int) {
        let parts = Self.split(text, at: UInt8(ascii: ":"), maximum: 1)
        let name = Self.trimmed(parts[0])
        guard var key = Self.key(name) else {
            return refuse(line, name, allowed: Self.allowedNames)
        }
        if let domain = key.domain { key = .init(localPart: key.localPart, domain: shared(domain)) }
        if let first = entries[key] {
            return findings.refuse(
                line: line, "found \(Self.shown(name)) twice; it is in line \(first.line) already")
        }
        guard parts.count > 1 else {
            entries[key] = AddressTable.Entry(line: line, targets: nil)
            return
        }
        guard let targets = targets(parts[1], line) else { return }
        entries[key] = AddressTable.Entry(line: line, targets: targets)
    }

    private mutating func shared(_ domain: Domain) -> Domain {
        if let known = domains[domain] { return known }
        domains[domain] = domain
        return domain
    }

    /// Nil when something is wrong with them, which is then among the findings.
    private mutating func targets(_ text: Octets, _ line: Int) -> [AddressTable.Target]? {
        var targets: [AddressTable.Target] = []
        var isWhole = true
        for part in Self.split(text, at: UInt8(ascii: ","), maximum: .max) {
            let name = Self.trimmed(part)
            guard let target = Self.target(name) else {
                refuse(line, name, allowed: "a target that is an address or a local part")
                isWhole = false
                continue
            }
            if !targets.contains(target) { targets.append(target) }
            guard targets.count <= AddressTable.maximumTargets else {
                findings.refuse(
                    line: line,
                    "found more targets than \(AddressTable.maximumTargets) of one alias")
                return nil
            }
        }
        return isWhole ? targets : nil
    }

    private mutating func refuse(_ line: Int, _ found: Octets, allowed: String) {
        findings.refuse(line: line, "found \(Self.shown(found)); allowed: \(allowed)")
    }

    // MARK: Words

    /// `local-part`, `local-part@domain`, `*` or `*@domain`.
    private static func key(_ text: Octets) -> AddressTable.Key? {
        if text.first == UInt8(ascii: "*") {
            if text.count == 1 { return .init(localPart: nil, domain: nil) }
            guard text.dropFirst().first == UInt8(ascii: "@"),
                let domain = Domain(octets: Array(text.dropFirst(2)).span)
            else { return nil }
            return .init(localPart: nil, domain: domain)
        }
        switch target(text) {
        case .mailbox(let mailbox)?:
            return .init(localPart: mailbox.comparedLocalPart, domain: mailbox.domain)
        case .localPart(let octets)?:
            guard let mailbox = inSomeDomain(octets) else { return nil }
            return .init(localPart: mailbox.comparedLocalPart, domain: nil)
        case nil: return nil
        }
    }

    private static func target(_ text: Octets) -> AddressTable.Target? {
        let octets = Array(text)
        if let mailbox = Mailbox(octets: octets.span) { return .mailbox(mailbox) }
        // A file or a program, as sendmail's aliases may name them, or everybody: all of them look
        // like local parts.
        let isSomethingElse = Array("/|*".utf8).contains { octets.first == $0 }
        return isSomethingElse || inSomeDomain(octets) == nil ? nil : .localPart(octets)
    }

    private static func inSomeDomain(_ localPart: [UInt8]) -> Mailbox? {
        Mailbox(octets: (localPart + Array("@x".utf8)).span)
            .flatMap { $0.localPartCount == localPart.count ? $0 : nil }
    }

    // MARK: Lines

    /// Whether each octet stands outside quotes and brackets, where separators separate.
    private struct Nesting {
        private enum State { case outside, quoted, escaped, bracketed }
        private var state = State.outside

        mutating func isOutside(_ octet: UInt8) -> Bool {
            switch (state, octet) {
            case (.outside, UInt8(ascii: "\"")): state = .quoted
            case (.outside, UInt8(ascii: "[")): state = .bracketed
            case (.outside, _): return true
            case (.quoted, UInt8(ascii: "\\")): state = .escaped
            case (.quoted, UInt8(ascii: "\"")), (.bracketed, UInt8(ascii: "]")): state = .outside
            case (.escaped, _): state = .quoted
            case (.quoted, _), (.bracketed, _): break
            }
            return false
        }
    }

    /// `#` may be part of a local part: a comment begins the line or stands behind a blank.
    private static func withoutComment(_ line: Octets) -> Octets {
        guard line.contains(UInt8(ascii: "#")) else { return line }
        var nesting = Nesting()
        var previous = UInt8(ascii: " ")
        for index in line.indices {
            let isOutside = nesting.isOutside(line[index])
            if isOutside, line[index] == UInt8(ascii: "#"), isBlank(previous) {
                return line[..<index]
            }
            previous = line[index]
        }
        return line
    }

    private static func split(_ text: Octets, at separator: UInt8, maximum: Int) -> [Octets] {
        var parts: [Octets] = []
        var start = text.startIndex
        var nesting = Nesting()
        for index in text.indices
        where nesting.isOutside(text[index]) && text[index] == separator && parts.count < maximum {
            parts.append(text[start..<index])
            start = index + 1
        }
        return parts + [text[start...]]
    }

    private static func trimmed(_ text: Octets) -> Octets {
        guard let first = text.firstIndex(where: { !isBlank($0) }),
            let last = text.lastIndex(where: { !isBlank($0) })
        else { return [] }
        return text[first...last]
    }

    private static func shown(_ text: Octets) -> String {
        String(decoding: text.prefix(shownCount), as: UTF8.self).debugDescription
    }
}
