import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Synchronization
import Testing

@testable import ElemtaDelivery

/// A next hop that fails: at which stage, how, and what becomes of the message.
struct FaultTableTests {
    enum Stage: String, Sendable {
        case connect, greeting, hello = "EHLO"
        case startTLS = "STARTTLS, opportunistic", startTLSRequired = "STARTTLS, required"
        case handshake = "handshake, opportunistic", handshakeRequired = "handshake, required"
        case login = "AUTH", mail = "MAIL", recipient = "RCPT", data = "DATA", content
        case endOfData = "end of data", reset = "RSET", next = "next message", quit = "QUIT"

        /// The line that the fault answers.
        var verb: String {
            switch self {
            case .connect, .greeting: ""
            case .hello: "EHLO"
            case .startTLS, .startTLSRequired, .handshake, .handshakeRequired: "STAR"
            case .login: "AUTH"
            case .mail, .next: "MAIL"
            case .recipient: "RCPT"
            case .data, .content: "DATA"
            case .endOfData: "."
            case .reset: "RSET"
            case .quit: "QUIT"
            }
        }
    }

    enum Fault: String, Sendable {
        case transient = "4xx", permanent = "5xx", closing = "421", nonsense, close, silence
        case endless, reset
        // Ways to be hostile that are the same everywhere.
        case otherProtocol = "another protocol", oddCode = "a code that doesn't belong"
        case endlessLine = "a line without end", early = "a reply too many"
        case trickle = "an octet now and then"

        /// The columns of the table.
        static let columns: [Fault] = [
            .transient, .permanent, .closing, .nonsense, .close, .silence, .endless, .reset,
        ]

        var reaction: ScriptedServer.Reaction {
            switch self {
            case .transient: .say("451 4.7.1 later\r\n")
            case .permanent: .say("550 5.7.1 never\r\n")
            case .closing: .sayAndClose("421 4.3.2 closing\r\n")
            case .nonsense: .say("I'm a teapot\r\n")
            case .close: .close
            case .silence: .silence
            case .endless: .flood("250-and more\r\n")
            case .reset: .reset
            case .otherProtocol: .say("+OK POP3 ready\r\n")
            case .oddCode: .say("399 4.0.0 what\r\n")
            case .endlessLine: .flood(String(repeating: "x", count: 1_000))
            case .early: .say("")
            case .trickle: .trickle
            }
        }
    }

    struct Cell: Sendable, CustomTestStringConvertible {
        let stage: Stage
        let fault: Fault
        let outcome: String
        var testDescription: String { "\(stage.rawValue): \(fault.rawValue)" }
    }

    /// In the order of `Fault.columns`: a status is a deferral or a failure by its class; `sent`: the message
    /// gets there, over another connection or since it was there already; `-`: there is no such
    /// fault at this stage.
    private static let table: [(Stage, String)] = [
        // A host that refuses connections, or hangs.
        (.connect, "     -     -     -     -     4.4.1 4.4.1 -     -    "),
        (.greeting, "    4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.1"),
        (.hello, "       4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        // In clear instead.
        (.startTLS, "    sent  sent  sent  sent  sent  sent  sent  sent "),
        (.startTLSRequired, " 4.7.4 4.7.4 4.7.4 4.7.5 4.7.5 4.7.5 4.7.5 4.7.5"),
        (.handshake, "   sent  sent  sent  sent  sent  sent  sent  sent "),
        (.handshakeRequired, " 4.7.5 4.7.5 4.7.5 4.7.5 4.7.5 4.7.5 4.7.5 4.7.5"),
        (.login, "       4.7.0 4.7.8 4.7.0 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        (.mail, "        4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        (.recipient, "   4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        (.data, "        4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        (.content, "     4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        (.endOfData, "   4.7.1 5.7.1 4.3.2 4.5.0 4.4.2 4.4.2 4.5.0 4.4.2"),
        // Nothing is known against the message that comes behind the one that was refused.
        (.reset, "       sent  sent  sent  sent  sent  sent  sent  sent "),
        (.next, "        4.7.1 5.7.1 sent  sent  sent  sent  sent  sent "),
        (.quit, "        sent  sent  sent  sent  sent  sent  sent  sent "),
    ]

    static let cells: [Cell] = table.flatMap { stage, row in
        zip(Fault.columns, row.split(separator: " ")).compactMap { fault, word in
            let outcome: String? =
                switch word {
                case "-": nil
                case "sent": "relayed 2.0.0"
                default: (word.hasPrefix("5") ? "failed " : "deferred ") + word
                }
            return outcome.map { Cell(stage: stage, fault: fault, outcome: $0) }
        }
    }

    static let hostileCells: [Cell] = {
        let stages: [Stage] = [.greeting, .hello, .mail, .recipient, .data, .endOfData]
        let faults: [Fault] = [.otherProtocol, .oddCode, .endlessLine, .early, .trickle]
        return stages.flatMap { stage in
            faults.map { fault in
                let outcome =
                    switch (stage, fault) {
                    case (_, .trickle): "deferred 4.4.2"
                    // What has been said about the message holds.
                    case (.endOfData, .early): "relayed 2.0.0"
                    default: "deferred 4.5.0"
                    }
                return Cell(stage: stage, fault: fault, outcome: outcome)
            }
        }
    }()

    @Test("A next hop that fails harms that delivery alone", arguments: cells + hostileCells)
    func fault(cell: Cell) throws {
        let good = try ScriptedServer(ScriptedServer.polite())
        let hop = try Hop(cell)
        let store = MemoryStore()
        let told = Mutex<[DeliveryEvent]>([])
        let service = DeliveryService(try settings(cell)) { event in
            told.withLock { $0.append(event) }
        }
        try service.start(store: store, resolver: nil) { _, _ in }
        // 1 goes before the one that matters where that is the second of its connection.
        let isSecond = cell.stage == .reset || cell.stage == .next
        if isSecond {
            let first = cell.stage == .reset ? "bad@example.com" : "a@example.com"
            service.deliver([try store.add(1, to: [first], destination: hop.destination)])
            _ = try store.take(1)
        }
        let content: MemoryStore.Content =
            cell.stage == .content
            ? .memory(Array(repeating: 0x61, count: 16 << 20))
            : .memory(Array("Subject: x\r\n\r\nx\r\n".utf8))
        service.deliver([
            try store.add(
                2, content: content, from: "second@example.org", destination: hop.destination),
            try store.add(3, destination: "smtp:[127.0.0.1]:\(good.address.port)"),
        ])
        let outcomes = try store.take(2)
        service.stop(grace: .zero)
        let byID = Dictionary(uniqueKeysWithValues: outcomes.map { ($0.id.rawValue, $0) })
        #expect(byID[2]?.summary == cell.outcome)
        #expect(byID[3]?.summary == "relayed 2.0.0")
        let isDoubtful = told.withLock { list in
            list.contains { $0.id.rawValue == 2 && $0.outcome == .possiblyDuplicated }
        }
        // Whoever answers nothing that means anything may have the message.
        let says: Set<Fault> = [.transient, .permanent, .closing, .early, .oddCode]
        #expect(isDoubtful == (cell.stage == .endOfData && !says.contains(cell.fault)))
        if let status = byID[2]?.deferral, status.code == 0 { Self.checkWords(of: status) }
    }

    /// What we say ourselves is in words, not in the names that the code has for things.
    private static func checkWords(of status: DeliveryStatus) {
        let text = String(decoding: status.text, as: UTF8.self)
        let letters = Array(text.replacing("OpenSSL", with: "").unicodeScalars)
        let isWords = zip(letters, letters.dropFirst()).allSatisfy {
            !($0.properties.isLowercase && $1.properties.isUppercase)
        }
        #expect(isWords, "\(text)")
    }

    private func settings(_ cell: Cell) throws -> DeliverySettings {
        var settings = DeliverySettings(hostname: try #require(Domain("mail.example.org")))
        settings.maximumWorkers = 1
        settings.connectTimeout = .seconds(1)
        settings.maximumConnectionsPerDestination = 1
        let patience = Duration.seconds(1)
        settings.timeouts.greeting = patience
        settings.timeouts.mail = patience
        settings.timeouts.handshake = patience
        settings.timeouts.recipient = patience
        settings.timeouts.data = patience
        settings.timeouts.block = patience
        settings.timeouts.endOfData = patience
        settings.relayLogin = ClientLogin(
            try #require(SASLCredentials(user: "u", password: Array("password".utf8))),
            isAllowedInClear: true)
        return settings
    }

    /// The next hop of a cell.
    private struct Hop {
        let destination: String
        private let server: ScriptedServer?
        private let deadEnd: DeadEnd?

        init(_ cell: Cell) throws {
            guard cell.stage != .connect else {
                server = nil
                deadEnd = cell.fault == .silence ? try DeadEnd(0x7F00_003B) : nil
                destination = "smtp:[127.0.0.59]:\(deadEnd?.address.port ?? 1)"
                return
            }
            deadEnd = nil
            let server = try ScriptedServer(Self.script(cell))
            self.server = server
            let terms =
                switch cell.stage {
                case .startTLSRequired, .handshakeRequired: "smtp+required"
                case .login: "smtp+login"
                default: "smtp"
                }
            destination = "\(terms):[127.0.0.1]:\(server.address.port)"
        }

        private static func script(_ cell: Cell) -> ScriptedServer.Script {
            let polite = ScriptedServer.polite(
                ["PIPELINING", "SIZE 100000000", "AUTH PLAIN"] + offer(cell.stage))
            return { moment in
                if moment.line.contains("bad@") { return .say("550 5.1.1 unknown\r\n") }
                // HELO too, lest the fallback from EHLO helps.
                let verb = moment.verb == "HELO" ? "EHLO" : moment.verb
                guard verb == cell.stage.verb else { return polite(moment) }
                if cell.fault == .early, case .say(let reply) = polite(moment) {
                    return .say(reply + reply)
                }
                switch cell.stage {
                case .content: return .sayThen("354 go\r\n", cell.fault.reaction)
                case .handshake, .handshakeRequired:
                    return .sayThen("220 2.0.0 go\r\n", cell.fault.reaction)
                case .reset, .next:
                    let isMeant =
                        moment.connection == 0
                        && (verb == "RSET" || moment.line.contains("second@"))
                    return isMeant ? cell.fault.reaction : polite(moment)
                default: return cell.fault.reaction
                }
            }
        }

        private static func offer(_ stage: Stage) -> [String] {
            switch stage {
            case .startTLS, .startTLSRequired, .handshake, .handshakeRequired: ["STARTTLS"]
            default: []
            }
        }
    }
}
