import ElemtaAuthentication
import ElemtaConfiguration
import ElemtaSMTP
import Logging

/// What `recipients` says about one recipient.
enum RecipientFinding {
    /// It isn't in a local domain, or its domain has no rule: every local part exists.
    case unrestricted
    case exists(rule: String)
    /// Mail for it goes to these instead; never empty.
    case alias([Mailbox], rule: String)
    case unknown(rule: String)
    /// The directory has to be asked, for any of these names; that blocks.
    case directory(Directory, names: [String], rule: String)
    /// The domain's route has to be asked.
    case callout(rule: String)
    /// The alias leads in a circle, or to more mailboxes than it may.
    case misconfigured(because: String, rule: String)
}

/// Why the rules can't be used. Names file, place and key, never a secret.
struct RecipientsError: Error, CustomStringConvertible {
    /// Never empty.
    let problems: [String]

    /// One line a problem.
    var description: String { problems.joined(separator: "\n") }
}

/// Who exists in the local domains: `recipients` of the configuration. Needs no running server. Any
/// thread.
final class RecipientRules: Sendable {
    enum Source: Sendable {
        case file(AddressFile)
        case directory(Directory)
        case callout
    }

    struct Rule: Sendable {
        /// `recipients[0] (addresses.txt)`.
        let name: String
        let domain: Configuration.DomainPattern
        let source: Source

        /// For an operator: who knows the recipients and, where that is known, how many.
        var summary: String {
            switch source {
            case .file(let file): "\(file.path), \(file.table.count) addresses and aliases"
            case .directory(let directory): directory.configuration.url
            case .callout: "its route is asked"
            }
        }
    }

    /// The longest way from an alias to a mailbox, in aliases.
    static let maximumDepth = 32

    let rules: [Rule]
    private let policy: RelayPolicy
    /// Rules for one domain, by their place in the list.
    private let exact: [Domain: Int]
    /// The places of all others, in order.
    private let patterns: [Int]

    /// Reads the address files, and checks directories' settings without asking them; throws
    /// everything that is wrong with either. What becomes of them later goes to the log.
    ///
    /// - Parameter policy: which domains are local; no others are looked up.
    init(
        _ configuration: Configuration, policy: RelayPolicy, log: Logger
    ) throws(RecipientsError) {
        self.policy = policy
        var sources = RecipientSources(log: log)
        rules = configuration.recipients.enumerated().compactMap { index, lookup in
            sources.rule(lookup, at: "recipients[\(index)]")
        }
        guard sources.problems.isEmpty else { throw RecipientsError(problems: sources.problems) }
        var exact: [Domain: Int] = [:]
        var patterns: [Int] = []
        for (place, rule) in rules.enumerated() {
            if case .exact(let domain) = rule.domain {
                exact[domain] = exact[domain] ?? place
            } else {
                patterns.append(place)
            }
        }
        (self.exact, self.patterns) = (exact, patterns)
    }

    /// Whether some next hop is to be asked.
    var haveCallouts: Bool {
        rules.contains { if case .callout = $0.source { true } else { false } }
    }

    // MARK: Looking up

    /// Whether there is such a recipient, as far as it can be said without waiting. Postmaster
    /// always exists (RFC 5321 4.5.1), though it may be an alias.
    func find(_ mailbox: Mailbox) -> RecipientFinding {
        guard let rule = rule(for: mailbox.domain) else { return .unrestricted }
        switch rule.source {
        case .file(let file):
            guard let match = file.table.find(mailbox) else {
                return mailbox.isPostmaster
                    ? .exists(rule: rule.name) : .unknown(rule: rule.name)
            }
            let name = "\(rule.name), line \(match.line)"
            return match.targets == nil ? .exists(rule: name) : expand(mailbox, rule: name)
        case .directory(let directory):
            if mailbox.isPostmaster { return .exists(rule: rule.name) }
            return .directory(directory, names: Self.names(of: mailbox), rule: rule.name)
        case .callout:
            return mailbox.isPostmaster ? .exists(rule: rule.name) : .callout(rule: rule.name)
        }
    }

    /// The first rule of a local domain; nil for every other domain, and where there is none.
    private func rule(for domain: Domain) -> Rule? {
        guard !rules.isEmpty, policy.isLocal(domain) else { return nil }
        let own = exact[domain]
        for place in patterns {
            if let own, own < place { break }
            if rules[place].domain.matches(domain) { return rules[place] }
        }
        return own.map { rules[$0] }
    }

    /// What a directory may know the mailbox by: its address, and that without what follows the
    /// first `+` of the local part.
    private static func names(of mailbox: Mailbox) -> [String] {
        let localPart = mailbox.comparedLocalPart
        var names = [localPart]
        if let plus = localPart.firstIndex(of: UInt8(ascii: "+")), plus > 0 {
            names.append(Array(localPart[..<plus]))
        }
        return names.map { "\(String(decoding: $0, as: UTF8.self))@\(mailbox.domain)" }
    }

    // MARK: Aliases

    private func expand(_ mailbox: Mailbox, rule: String) -> RecipientFinding {
        var expansion = AliasExpansion(targets: targets)
        do throws(AliasExpansion.Failure) {
            return .alias(try expansion.expand(mailbox), rule: rule)
        } catch {
            return .misconfigured(because: "\(error)", rule: rule)
        }
    }

    /// Who gets the mail of a mailbox in its place; nil: itself. A target that no file knows is
    /// taken at its word: the route of its domain knows better.
    private func targets(of mailbox: Mailbox) -> [Mailbox]? {
        guard case .file(let file)? = rule(for: mailbox.domain)?.source else { return nil }
        return file.table.find(mailbox)?.targets
    }

    /// What is wrong with aliases, a sentence each: for an operator, before a client finds out.
    /// Domains that a rule only describes (`.example.com`) aren't looked at.
    var complaints: [String] {
        rules.flatMap { rule -> [String] in
            guard case .file(let file) = rule.source, case .exact(let domain) = rule.domain
            else { return [] }
            return file.table.aliases(of: domain).compactMap { alias in
                guard case .misconfigured(let reason, let rule) = find(alias) else { return nil }
                return "\(rule): \(reason)"
            }
        }
    }

    // MARK: Reloading

    /// Reads the files again that have changed, and says whether there were any. Blocks while it
    /// reads.
    func reloadIfChanged() -> Bool {
        var hasRead = false
        for case .file(let file) in rules.map(\.source) where file.reloadIfChanged() {
            hasRead = true
        }
        return hasRead
    }

    /// Makes what waits for a directory fail.
    func stop() {
        for case .directory(let directory) in rules.map(\.source) { directory.stop() }
    }
}

/// Opens what the rules refer to; a file that several name is opened once.
private struct RecipientSources {
    private let log: Logger
    private var files: [String: AddressFile] = [:]
    private(set) var problems: [String] = []

    init(log: Logger) {
        self.log = log
    }

    /// Nil when something is wrong with it, which is then among the problems.
    mutating func rule(
        _ lookup: Configuration.RecipientLookup, at key: String
    ) -> RecipientRules.Rule? {
        switch lookup.source {
        case .file(let path):
            return file(path).map {
                .init(name: "\(key) (\(path))", domain: lookup.domain, source: .file($0))
            }
        case .ldap(let settings):
            do throws(DirectoryError) {
                let directory = try Directory(settings, at: "\(key).ldap", log: log)
                return .init(
                    name: "\(key) (\(settings.url))", domain: lookup.domain,
                    source: .directory(directory))
            } catch {
                problems.append("\(error)")
                return nil
            }
        case .callout:
            return .init(name: "\(key) (callout)", domain: lookup.domain, source: .callout)
        }
    }

    private mutating func file(_ path: String) -> AddressFile? {
        if let known = files[path] { return known }
        do throws(FileErrors) {
            let file = try AddressFile(path) { [log] in RecipientsLog.write($0, path, to: log) }
            files[path] = file
            return file
        } catch {
            problems += error.problems.map(\.description)
            return nil
        }
    }
}
