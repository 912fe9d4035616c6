public import ElemtaSMTP

/// What an address file says about a recipient.
public struct AddressMatch: Sendable, Hashable {
    /// The line of the file, counted from 1.
    public let line: Int
    /// Who gets the mail in the recipient's place, in the order of the file; nil: the recipient. A
    /// target may be the recipient itself: that is where its own mail stays.
    public let targets: [Mailbox]?
}

/// Who exists in a domain, as an address file lists it.
///
/// A value looks up in constant time. Local parts are compared as `Mailbox.comparedLocalPart` says.
public struct AddressTable: WatchedContent {
    /// Some million addresses, in octets: 64 MiB.
    static let maximumOctets = 64 << 20
    /// Targets of one alias.
    public static let maximumTargets = 1_000

    struct Key: Hashable, Sendable {
        /// As it is compared; nil for the catch-all.
        let localPart: [UInt8]?
        /// Nil where the line has none: then it is for every domain of whoever asks.
        let domain: Domain?
    }

    enum Target: Hashable, Sendable {
        case mailbox(Mailbox)
        /// In the domain of the recipient, as written.
        case localPart([UInt8])
    }

    struct Entry: Sendable {
        let line: Int
        let targets: [Target]?
    }

    private let entries: [Key: Entry]
    /// None of any kind so far.
    let warnings: [FileProblem] = []

    init(entries: [Key: Entry]) {
        self.entries = entries
    }

    /// Addresses and aliases.
    public var count: Int { entries.count }

    /// Reads an address file. Throws everything that is wrong with it.
    public static func read(_ path: String) throws(FileErrors) -> AddressTable {
        try readStamped(path).content
    }

    static func readStamped(
        _ path: String
    ) throws(FileErrors) -> (content: AddressTable, stamp: FileStamp) {
        let file = try FileContent(path, maximumCount: maximumOctets)
        return (try parse(file.octets, path: path), file.stamp)
    }

    static func parse(_ octets: [UInt8], path: String) throws(FileErrors) -> AddressTable {
        var builder = AddressTableBuilder(path: path)
        builder.add(octets)
        guard builder.findings.problems.isEmpty else { throw builder.findings.errors }
        return AddressTable(entries: builder.entries)
    }

    /// Nil: there is no such recipient. The line for the whole local part comes first, then that for
    /// what stands before its first `+` (`alice+lists` is alice's), then the catch-all; a line with a
    /// domain before one without.
    public func find(_ mailbox: Mailbox) -> AddressMatch? {
        let localPart = mailbox.comparedLocalPart
        let domain = mailbox.domain
        let found =
            entry(localPart, domain)
            ?? Self.withoutTag(localPart).flatMap { entry($0, domain) } ?? entry(nil, domain)
        return found.map { entry in
            AddressMatch(
                line: entry.line,
                targets: entry.targets.map { $0.compactMap { $0.mailbox(in: domain) } })
        }
    }

    /// The mailboxes of `domain` whose mail goes to somebody else, in the order of the file.
    public func aliases(of domain: Domain) -> [Mailbox] {
        entries.filter { $0.value.targets != nil && ($0.key.domain ?? domain) == domain }
            .sorted { $0.value.line < $1.value.line }
            .compactMap { Mailbox.compared($0.key.localPart ?? [0x2A], domain) }
    }

    private func entry(_ localPart: [UInt8]?, _ domain: Domain) -> Entry? {
        entries[Key(localPart: localPart, domain: domain)]
            ?? entries[Key(localPart: localPart, domain: nil)]
    }

    private static func withoutTag(_ localPart: [UInt8]) -> [UInt8]? {
        guard let plus = localPart.firstIndex(of: UInt8(ascii: "+")), plus > 0 else { return nil }
        return Array(localPart[..<plus])
    }
}

extension AddressTable.Target {
    func mailbox(in domain: Domain) -> Mailbox? {
        switch self {
        case .mailbox(let mailbox): mailbox
        case .localPart(let octets): Mailbox(localPart: octets, domain: domain)
        }
    }
}

extension Mailbox {
    /// The mailbox with a compared local part, quoted where that has to be.
    fileprivate static func compared(_ localPart: [UInt8], _ domain: Domain) -> Mailbox? {
        if let mailbox = Mailbox(localPart: localPart, domain: domain) { return mailbox }
        let escaped = localPart.flatMap { octet in
            octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\")
                ? [UInt8(ascii: "\\"), octet] : [octet]
        }
        return Mailbox(localPart: [0x22] + escaped + [0x22], domain: domain)
    }
}
