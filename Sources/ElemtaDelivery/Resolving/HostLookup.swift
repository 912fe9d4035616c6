import ElemtaSMTP

/// A host that takes mail for a domain.
struct MailHost: Hashable, Sendable {
    let name: String
    /// Lower ones are tried first (RFC 5321 5.1).
    let preference: UInt16
    let addresses: [IPAddress]
}

/// What came of looking for the hosts of a next hop.
enum Resolution: Hashable, Sendable {
    /// At least one host with at least one address.
    case hosts([MailHost], secondsToLive: Int)
    case failed(LookupFailure)
}

enum LookupFailure: Hashable, Sendable {
    /// No such domain, or a name that DNS can't have: 5.1.2.
    case noSuchDomain
    /// The domain says that it takes no mail (RFC 7505): 5.1.10.
    case nullMX
    /// The domain's first mail host is this server, which doesn't take its mail: 5.4.6.
    case loop
    /// No host of the domain has an address: 5.4.4.
    case noAddress
    /// DNS didn't answer: 4.4.3.
    case noAnswer(String)
}

/// One search for the hosts of a next hop: MX, then the addresses of all hosts at once. Belongs to
/// the resolver's thread.
final class HostLookup {
    /// Hosts and addresses beyond these are left out: a domain can list thousands.
    static let maximumHosts = 8
    static let maximumAddressesPerHost = 4

    private let ask: (String, DNSRecordType, @escaping (DNSAnswer) -> Void) -> Void
    private let isOwn: (String) -> Bool
    private var completion: ((Resolution) -> Void)?
    private var candidates: [Candidate] = []
    private var open = 0
    private var secondsToLive = 3_600
    private var failure: String?
    /// The domain has no MX: its own address is used (RFC 5321 5.1).
    private var isImplicit = false

    private struct Candidate {
        let name: String
        let preference: UInt16
        var v4: [IPAddress] = []
        var v6: [IPAddress] = []
        var exists = false
    }

    /// `ask` puts one question; `isOwn` tells which mail exchangers have this server's name;
    /// `completion` is called once.
    init(
        ask: @escaping (String, DNSRecordType, @escaping (DNSAnswer) -> Void) -> Void,
        isOwn: @escaping (String) -> Bool,
        completion: @escaping (Resolution) -> Void
    ) {
        self.ask = ask
        self.isOwn = isOwn
        self.completion = completion
    }

    func start(_ host: RemoteServer.Host) {
        switch host {
        case .address(let address):
            let host = MailHost(name: "[\(address)]", preference: 0, addresses: [address])
            finish(.hosts([host], secondsToLive: secondsToLive))
        case .host(let domain):
            guard let name = DomainNameEncoding.asciiName(of: domain) else {
                return finish(.failed(.noSuchDomain))
            }
            isImplicit = true
            findAddresses(of: [(name, 0)])
        case .socket:
            // Its path is all that there is to know.
            finish(.failed(.noAddress))
        case .mailExchangers(let domain):
            guard let name = DomainNameEncoding.asciiName(of: domain) else {
                return finish(.failed(.noSuchDomain))
            }
            ask(name, .mailExchanger) { self.foundExchangers(of: name, $0) }
        }
    }

    /// Gives up: time is up.
    func giveUp() { finish(.failed(.noAnswer("no answer in time"))) }

    private func finish(_ resolution: Resolution) {
        completion?(resolution)
        completion = nil
    }

    private func foundExchangers(of name: String, _ answer: DNSAnswer) {
        switch answer {
        case .failure(let what): finish(.failed(.noAnswer(what)))
        case .noSuchName: finish(.failed(.noSuchDomain))
        case .noRecords:
            isImplicit = true
            findAddresses(of: [(name, 0)])
        case .records(let records, let seconds):
            secondsToLive = seconds
            var hosts: [(name: String, preference: UInt16)] = []
            var isNull = false
            for case .mailExchanger(let preference, let host) in records {
                if let host { hosts.append((host, preference)) } else { isNull = true }
            }
            // RFC 7505 3: a null MX counts only alone; beside others it names no host.
            if hosts.isEmpty { return finish(.failed(isNull ? .nullMX : .noAddress)) }
            // Equal ones in any order, so that the limit doesn't cut off always the same.
            hosts.shuffle()
            hosts.sort { $0.preference < $1.preference }
            // RFC 5321 5.1. By name and before the addresses are known: that ours can't be found now
            // doesn't make the others the ones to send to.
            if let own = hosts.first(where: { isOwn($0.name) }) {
                hosts.removeAll { $0.preference >= own.preference }
                if hosts.isEmpty { return finish(.failed(.loop)) }
            }
            findAddresses(of: hosts.prefix(Self.maximumHosts, reachingEach: \.preference))
        }
    }

    private func findAddresses(of hosts: [(name: String, preference: UInt16)]) {
        candidates = hosts.map { Candidate(name: $0.name, preference: $0.preference) }
        open = candidates.count * 2
        for index in candidates.indices {
            for type in [DNSRecordType.address, .address6] {
                ask(candidates[index].name, type) { self.foundAddresses(of: index, type, $0) }
            }
        }
    }

    private func foundAddresses(of index: Int, _ type: DNSRecordType, _ answer: DNSAnswer) {
        switch answer {
        case .records(let records, let seconds):
            secondsToLive = min(secondsToLive, seconds)
            candidates[index].exists = true
            for case .address(let address) in records {
                if type == .address {
                    candidates[index].v4.append(address)
                } else {
                    candidates[index].v6.append(address)
                }
            }
        case .noRecords: candidates[index].exists = true
        case .noSuchName: break
        case .failure(let what): failure = what
        }
        open -= 1
        if open == 0 { conclude() }
    }

    private func conclude() {
        let hosts = candidates.compactMap { candidate -> MailHost? in
            let addresses = Self.interleaved(candidate.v4.shuffled(), candidate.v6.shuffled())
            return addresses.isEmpty
                ? nil
                : MailHost(
                    name: candidate.name, preference: candidate.preference, addresses: addresses)
        }
        if !hosts.isEmpty {
            finish(.hosts(hosts, secondsToLive: secondsToLive))
        } else if let failure {
            finish(.failed(.noAnswer(failure)))
        } else if isImplicit, !candidates.contains(where: \.exists) {
            finish(.failed(.noSuchDomain))
        } else {
            finish(.failed(.noAddress))
        }
    }

    /// Alternately one of each family, IPv6 first (RFC 8305 4): where one of them doesn't work the
    /// other isn't far.
    private static func interleaved(_ v4: [IPAddress], _ v6: [IPAddress]) -> [IPAddress] {
        var addresses: [IPAddress] = []
        for index in 0..<max(v4.count, v6.count) {
            if index < v6.count { addresses.append(v6[index]) }
            if index < v4.count { addresses.append(v4[index]) }
        }
        return Array(addresses.prefix(maximumAddressesPerHost))
    }
}
