import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Synchronization
import Testing

@testable import ElemtaDelivery

/// STARTTLS, REQUIRETLS and AUTH, against servers that speak TLS or fail to.
struct TLSDeliveryTests {
    private let certificates: Certificates
    private let store = MemoryStore()
    private let events = Events()

    init() throws {
        certificates = try Certificates.shared.get()
    }

    private final class Events: Sendable {
        private let list = Mutex<[DeliveryEvent]>([])
        var all: [DeliveryEvent] { list.withLock { $0 } }
        func add(_ event: DeliveryEvent) { list.withLock { $0.append(event) } }
    }

    /// Servers that take more than two seconds are given up.
    private func service(
        hosts: [(name: String, address: UInt32)] = [],
        _ change: (inout DeliverySettings) -> Void = { _ in }
    ) throws -> DeliveryService {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.authorities = .file(certificates.authority)
        settings.timeouts.handshake = .seconds(2)
        settings.timeouts.mail = .seconds(2)
        change(&settings)
        let events = events
        let service = DeliveryService(settings) { events.add($0) }
        try service.start(store: store, resolver: nil) { _, answer in
            let hosts = hosts.map {
                MailHost(name: $0.name, preference: 10, addresses: [IPAddress(v4: $0.address)])
            }
            answer(.hosts(hosts, secondsToLive: 300))
        }
        return service
    }

    private func deliver(_ service: DeliveryService, _ items: WorkItem...) throws -> [String] {
        service.deliver(items)
        return try store.take(items.count).map(\.summary)
    }

    private func destination(_ scheme: String, _ server: ScriptedServer) -> String {
        "\(scheme):[127.0.0.1]:\(server.address.port)"
    }

    private func commands(_ server: ScriptedServer) -> [String] {
        server.record.dialogues.flatMap { $0 }
    }

    enum Certificate: String, CaseIterable {
        case good, otherName, expired, selfSigned
    }

    private func context(_ certificate: Certificate) -> TLSServerContext {
        switch certificate {
        case .good: certificates.good
        case .otherName: certificates.otherName
        case .expired: certificates.expired
        case .selfSigned: certificates.selfSigned
        }
    }

    // MARK: - Certificates

    @Test(
        "Any certificate is good enough for opportunistic TLS, and the event says what it's worth",
        arguments: Certificate.allCases)
    func opportunistic(certificate: Certificate) throws {
        let server = try ScriptedServer(ScriptedServer.secure(context(certificate)))
        let service = try service()
        let item = try store.add(1, destination: destination("smtp", server))
        #expect(try deliver(service, item) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        let channels = events.all.map(\.channel)
        guard case .tls(let description)? = channels.first ?? nil else {
            Issue.record("\(channels)")
            return
        }
        #expect(description.protocolName == "TLSv1.3")
        #expect(description.isPeerVerified == (certificate == .good))
        #expect(
            commands(server).prefix(3)
                == ["EHLO mail.example.org", "STARTTLS", "EHLO mail.example.org"])
    }

    @Test(
        "Where TLS is required the certificate has to be valid and bear the name",
        arguments: Certificate.allCases, ["smtp+required", "smtp+requiretls"])
    func required(certificate: Certificate, scheme: String) throws {
        let server = try ScriptedServer(
            ScriptedServer.secure(context(certificate), ["REQUIRETLS"]))
        let service = try service()
        let item = try store.add(
            1, requireTLS: scheme == "smtp+requiretls", destination: destination(scheme, server))
        let outcome = try deliver(service, item)
        service.stop(grace: .zero)
        if certificate == .good {
            #expect(outcome == ["relayed 2.0.0"])
        } else {
            #expect(outcome == [scheme == "smtp+required" ? "deferred 4.7.5" : "failed 5.7.30"])
            #expect(!commands(server).contains { $0.hasPrefix("MAIL") })
            #expect(
                events.all.allSatisfy { $0.status.text.firstRange(of: certificate.problem) != nil })
        }
    }

    @Test(
        "A server by name has to have a certificate for that name",
        arguments: [("mx.example.com", "relayed 2.0.0"), ("mx2.example.com", "deferred 4.7.5")])
    func names(host: String, outcome: String) throws {
        let server = try ScriptedServer(ScriptedServer.secure(certificates.good))
        let service = try service(hosts: [(host, 0x7F00_0001)])
        let item = try store.add(
            1, destination: "mx+required:example.com:\(server.address.port)")
        #expect(try deliver(service, item) == [outcome])
        service.stop(grace: .zero)
    }

    // MARK: - REQUIRETLS

    @Test func requireTLSIsSaidToAServerThatOffersItInsideTLS() throws {
        let server = try ScriptedServer(
            ScriptedServer.secure(certificates.good, ["REQUIRETLS", "PIPELINING"]))
        let service = try service()
        let item = try store.add(
            1, requireTLS: true, destination: destination("smtp+requiretls", server))
        #expect(try deliver(service, item) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(commands(server).contains("MAIL FROM:<sender@example.org> REQUIRETLS"))
    }

    @Test(
        "A message that requires TLS goes back when it can't have it, and waits when it may",
        arguments: [
            ("no STARTTLS", ["REQUIRETLS"], "", "failed 5.7.30"),
            ("not offered inside", ["STARTTLS", "REQUIRETLS"], "220 go\r\n", "failed 5.7.30"),
            ("refused", ["STARTTLS"], "554 5.7.0 no\r\n", "failed 5.7.30"),
            ("refused for now", ["STARTTLS"], "454 4.7.0 later\r\n", "deferred 4.7.4"),
            ("injection", ["STARTTLS"], "220 go\r\n250 in clear\r\n", "deferred 4.7.5"),
        ])
    func requireTLSMissing(name: String, offer: [String], reply: String, outcome: String) throws {
        let polite = ScriptedServer.polite(offer)
        let secure = ScriptedServer.secure(certificates.good)
        let server = try ScriptedServer { moment in
            if moment.isSecure { return secure(moment) }
            guard moment.verb == "STAR" else { return polite(moment) }
            return reply == "220 go\r\n" ? secure(moment) : .say(reply)
        }
        let service = try service()
        let item = try store.add(
            1, requireTLS: true, destination: destination("smtp+requiretls", server))
        #expect(try deliver(service, item) == [outcome])
        service.stop(grace: .zero)
        #expect(!commands(server).contains { $0.hasPrefix("MAIL") })
    }

    @Test(
        "Of a domain's hosts those count whose name nobody can have forged",
        arguments: [
            ("mx.example.com", "failed 5.7.30", 0), ("example.com", "relayed 2.0.0", 1),
        ])
    func unprovenExchangers(host: String, outcome: String, connections: Int) throws {
        let server = try ScriptedServer(ScriptedServer.secure(certificates.good, ["REQUIRETLS"]))
        let service = try service(hosts: [(host, 0x7F00_0001)])
        let item = try store.add(
            1, requireTLS: true, destination: "mx+requiretls:example.com:\(server.address.port)")
        #expect(try deliver(service, item) == [outcome])
        service.stop(grace: .zero)
        #expect(server.record.dialogues.count == connections)
    }

    @Test func aReportGoesWithoutREQUIRETLSRatherThanNotAtAll() throws {
        let poor = try ScriptedServer(ScriptedServer.polite())
        let rich = try ScriptedServer(ScriptedServer.secure(certificates.good, ["REQUIRETLS"]))
        let service = try service()
        for (number, server) in [poor, rich].enumerated() {
            let item = try store.add(
                UInt64(number), from: "", requireTLS: true,
                destination: destination("smtp", server))
            #expect(try deliver(service, item) == ["relayed 2.0.0"])
        }
        service.stop(grace: .zero)
        #expect(commands(poor).contains { $0.hasPrefix("MAIL FROM:<> SIZE=") })
        #expect(commands(rich).contains("MAIL FROM:<> REQUIRETLS"))
    }

    // MARK: - Hostile servers

    struct Hostility: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let reaction: ScriptedServer.Reaction
        /// What a message gets that may not go in clear.
        let status: String

        static let all = [
            Hostility(
                testDescription: "refuses STARTTLS", reaction: .say("454 4.7.0 later\r\n"),
                status: "4.7.4"),
            Hostility(
                testDescription: "answers the handshake in clear",
                reaction: .babble("220 go\r\n", "500 what's that?\r\n"), status: "4.7.5"),
            Hostility(
                testDescription: "closes instead of a handshake",
                reaction: .sayAndClose("220 go\r\n"), status: "4.7.5"),
            Hostility(
                testDescription: "stalls", reaction: .babble("220 go\r\n", ""), status: "4.7.5"),
            Hostility(
                testDescription: "doesn't answer STARTTLS", reaction: .silence, status: "4.7.5"),
        ]
    }

    private func hostile(_ hostility: Hostility) throws -> ScriptedServer {
        let polite = ScriptedServer.polite(["STARTTLS"])
        return try ScriptedServer { moment in
            moment.verb == "STAR" ? hostility.reaction : polite(moment)
        }
    }

    @Test(
        "Opportunistic mail goes in clear, on another connection, to a server that",
        arguments: Hostility.all)
    func fallsBack(hostility: Hostility) throws {
        let server = try hostile(hostility)
        // One connection a message, so that each has to be opened anew.
        let service = try service { $0.messagesPerConnection = 1 }
        for number in 1...2 as ClosedRange<UInt64> {
            let item = try store.add(number, destination: destination("smtp", server))
            #expect(try deliver(service, item) == ["relayed 2.0.0"])
        }
        service.stop(grace: .zero)
        let dialogues = server.record.dialogues
        #expect(dialogues.count == 3)
        #expect(dialogues.map { $0.contains("STARTTLS") } == [true, false, false])
        #expect(!dialogues[0].contains { $0.hasPrefix("MAIL") })
        for event in events.all {
            guard case .clear(let cause?)? = event.channel else {
                Issue.record("\(event)")
                continue
            }
            #expect(!cause.isEmpty)
        }
    }

    @Test("Where TLS is required, mail waits for a server that", arguments: Hostility.all)
    func waits(hostility: Hostility) throws {
        let server = try hostile(hostility)
        let service = try service()
        let item = try store.add(1, destination: destination("smtp+required", server))
        #expect(try deliver(service, item) == ["deferred \(hostility.status)"])
        service.stop(grace: .zero)
        #expect(server.record.dialogues.count == 1)
        #expect(!commands(server).contains { $0.hasPrefix("MAIL") })
    }

    @Test("Octets in clear in front of the handshake are a reason to stay away")
    func injection() throws {
        let polite = ScriptedServer.polite(["STARTTLS"])
        let server = try ScriptedServer { moment in
            moment.verb == "STAR"
                ? .say("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n") : polite(moment)
        }
        let service = try service()
        let item = try store.add(1, destination: destination("smtp", server))
        #expect(try deliver(service, item) == ["deferred 4.7.5"])
        service.stop(grace: .zero)
        #expect(server.record.dialogues == [["EHLO mail.example.org", "STARTTLS"]])
    }

    @Test func aRouteWithoutTLSNeverBeginsIt() throws {
        let server = try ScriptedServer(ScriptedServer.secure(certificates.good))
        let service = try service()
        let item = try store.add(1, destination: destination("smtp+off", server))
        #expect(try deliver(service, item) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(!commands(server).contains("STARTTLS"))
        #expect(events.all.map(\.channel) == [.clear(cause: nil)])
    }

    // MARK: - Connections

    @Test func connectionsAreKeptInsideTLSAndNeverSharedAcrossPolicies() throws {
        let server = try ScriptedServer(
            ScriptedServer.secure(certificates.good, ["REQUIRETLS", "PIPELINING"]))
        let service = try service { $0.idleConnection = .seconds(600) }
        var number: UInt64 = 0
        for scheme in ["smtp", "smtp+required", "smtp+requiretls", "smtp+off"] {
            for _ in 0..<3 {
                number += 1
                let item = try store.add(
                    number, requireTLS: scheme == "smtp+requiretls",
                    destination: destination(scheme, server))
                #expect(try deliver(service, item) == ["relayed 2.0.0"])
            }
        }
        service.stop(grace: .seconds(5))
        let dialogues = server.record.dialogues
        #expect(dialogues.count == 4)
        for dialogue in dialogues {
            let mails = dialogue.filter { $0.hasPrefix("MAIL") }
            #expect(mails.count == 3)
            #expect(
                mails.allSatisfy { $0.hasSuffix("REQUIRETLS") == mails[0].hasSuffix("REQUIRETLS") })
            #expect(dialogue.last == "QUIT")
        }
    }

    @Test(arguments: [[], ["CHUNKING"]])
    func contentOfAFileArrivesAsItWas(offer: [String]) throws {
        let file = try TemporaryFile(
            Array(repeating: Array(".a line of text\r\n".utf8), count: 100_000).flatMap { $0 })
        let server = try ScriptedServer(ScriptedServer.secure(certificates.good, offer))
        let service = try service()
        let item = try store.add(
            1, content: .file(path: file.path, offset: 2, count: file.octets.count - 2),
            destination: destination("smtp+required", server))
        #expect(try deliver(service, item) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(server.record.messages == [Array(file.octets.dropFirst(2))])
    }

    // MARK: - AUTH

    private func login(inClear: Bool = false) throws -> ClientLogin {
        let credentials = try #require(
            SASLCredentials(user: "me", password: Array("open sesame".utf8)))
        return ClientLogin(credentials, isAllowedInClear: inClear)
    }

    @Test func thePasswordGoesToTheRelayHostInsideTLS() throws {
        let server = try ScriptedServer(
            ScriptedServer.secure(certificates.good, ["AUTH LOGIN PLAIN"]))
        let login = try login()
        let service = try service { $0.relayLogin = login }
        let item = try store.add(1, destination: destination("smtp+login+required", server))
        #expect(try deliver(service, item) == ["relayed 2.0.0"])
        let other = try store.add(2, destination: destination("smtp+required", server))
        #expect(try deliver(service, other) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        let logins = commands(server).filter { $0.hasPrefix("AUTH") }
        #expect(logins == ["AUTH PLAIN AG1lAG9wZW4gc2VzYW1l"])
    }

    @Test(
        "Whoever may not log in sends nothing, fails nobody's mail, and says so",
        arguments: [
            ("refused", ["AUTH PLAIN"], "535 5.7.8 no\r\n", "deferred 4.7.8", true),
            ("refused for now", ["AUTH PLAIN"], "454 4.7.0 later\r\n", "deferred 4.7.0", false),
            ("not offered", [], "", "deferred 4.7.4", true),
        ])
    func refusedLogin(
        name: String, offer: [String], reply: String, outcome: String, isOurs: Bool
    ) throws {
        let secure = ScriptedServer.secure(certificates.good, offer)
        let server = try ScriptedServer { moment in
            moment.verb == "AUTH" ? .say(reply) : secure(moment)
        }
        let login = try login()
        let service = try service { $0.relayLogin = login }
        let items = try (1...3).map {
            try store.add($0, destination: destination("smtp+login", server))
        }
        service.deliver(items)
        #expect(try store.take(3).map(\.summary) == Array(repeating: outcome, count: 3))
        service.stop(grace: .zero)
        #expect(!commands(server).contains { $0.hasPrefix("MAIL") })
        // Handed over together, one of them has found that out for all.
        #expect(server.record.dialogues.count == 1)
        #expect(events.all.count == 1)
        for event in events.all {
            #expect((event.outcome == .loginFailed) == isOurs)
            #expect(!String(decoding: event.status.text, as: UTF8.self).contains("sesame"))
        }
    }

    @Test("Without TLS the password isn't sent", arguments: [false, true])
    func clear(inClear: Bool) throws {
        let polite = ScriptedServer.polite(["AUTH PLAIN", "STARTTLS"])
        let server = try ScriptedServer { moment in
            moment.verb == "STAR" ? .babble("220 go\r\n", "no\r\n") : polite(moment)
        }
        let login = try login(inClear: inClear)
        let service = try service { $0.relayLogin = login }
        let item = try store.add(1, destination: destination("smtp+login", server))
        let outcome = try deliver(service, item)
        service.stop(grace: .zero)
        #expect(outcome == [inClear ? "relayed 2.0.0" : "deferred 4.7.5"])
        #expect(commands(server).contains { $0.hasPrefix("AUTH") } == inClear)
        #expect(server.record.dialogues.count == (inClear ? 2 : 1))
    }

    @Test func thatTLSFailedOnceKeepsNobodyFromLoggingInInsideIt() throws {
        let secure = ScriptedServer.secure(certificates.good, ["AUTH PLAIN"])
        let server = try ScriptedServer { moment in
            moment.verb == "STAR" && moment.connection == 0
                ? .say("454 4.7.0 later\r\n") : secure(moment)
        }
        let login = try login()
        let service = try service { $0.relayLogin = login }
        let item = try store.add(1, destination: destination("smtp", server))
        #expect(try deliver(service, item) == ["relayed 2.0.0"])
        let other = try store.add(2, destination: destination("smtp+login", server))
        #expect(try deliver(service, other) == ["relayed 2.0.0"])
        service.stop(grace: .zero)
        #expect(server.record.dialogues.map { $0.contains("STARTTLS") } == [true, false, true])
    }
}

extension TLSDeliveryTests.Certificate {
    /// What the event says about it.
    fileprivate var problem: [UInt8] {
        let words =
            switch self {
            case .good: ""
            case .otherName: "mismatch"
            case .expired: "expired"
            case .selfSigned: "self"
            }
        return Array(words.utf8)
    }
}
