public import ArgumentParser
import ElemtaConfiguration
import ElemtaDelivery
import ElemtaQueue
import ElemtaReactor
public import ElemtaSMTP
import ElemtaThreads
import Logging

struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say what would happen to a message, and by which line of the configuration.",
        discussion: """
            Reads the configuration and its address files, and sends nothing. Where a directory or \
            the next hop knows who exists it is asked for the recipient, as at RCPT. What a client \
            that has logged in may do is asked with --login.

            Exit status: 0 whatever the answer is, 64 the command line is wrong, 78 the \
            configuration is.
            """)

    @OptionGroup var options: ConfigurationOptions

    @Option(help: ArgumentHelp("The sender; \"<>\" for reports.", valueName: "address"))
    var from: ReversePath

    @Option(help: ArgumentHelp("The recipient.", valueName: "address"))
    var to: ForwardPath

    @Option(help: ArgumentHelp("The client's IP address.", valueName: "address"))
    var ip: IPAddress

    @Option(help: ArgumentHelp("Octets of content.", valueName: "octets"))
    var size: Int?

    @Flag(help: "The client has logged in.")
    var login = false

    @Option(
        help: ArgumentHelp(
            "The listener that it comes to, as the configuration writes its address.",
            discussion: "Otherwise the first.", valueName: "address"))
    var listener: String?

    @Flag(help: "As a JSON object.") var json = false

    func run() throws {
        let loaded = try options.load()
        let configuration = loaded.configuration
        var question = Explanation.Question(
            sender: from, recipient: to, client: ip.unmapped, isLoggedIn: login, octets: size)
        if let listener {
            let found = configuration.listeners.firstIndex { "\($0.address)" == listener }
            guard let found else {
                let known = configuration.listeners.map { "\($0.address)" }
                throw ValidationError(
                    "there is no listener \(listener); there are \(known.joined(separator: ", "))")
            }
            question.listener = found
        }
        let areListed = loaded.origin(of: "listeners") != nil
        question.listenerKey = areListed ? "listeners[\(question.listener)]" : "listen_addr"
        let rules: DeliveryRules?
        do throws(RelayLoginError) {
            rules = configuration.devMode ? nil : try DeliveryRules(configuration)
        } catch {
            complain("\(error)")
            throw ExitStatus.configuration.code
        }
        let relays = HostNetworks.Relays(configuration)
        let recipients: RecipientRules
        do throws(RecipientsError) {
            recipients = try RecipientRules(
                configuration,
                policy: RelayPolicy(localDomains: configuration.localDomains, relays: relays),
                log: .silent)
        } catch {
            for problem in error.problems { complain(problem) }
            throw ExitStatus.configuration.code
        }
        let explanation = Explanation(
            question, configuration, rules, recipients: recipients, relays: relays
        ) { ask($0, recipients, configuration) }
        ignoreBrokenPipes()
        let output = TerminalOutput()
        _ = output.write(json ? object(explanation, loaded).line : text(explanation, loaded))
        try output.end()
    }

    /// How long a directory or a next hop may take; longer than the limits that each has.
    private static let patience = Duration.seconds(30)

    /// Asks whoever knows, as a session would.
    private func ask(
        _ mailbox: Mailbox, _ rules: RecipientRules, _ configuration: Configuration
    ) -> RecipientAnswer {
        let answers = Inbox<RecipientAnswer>()
        let lookups = RecipientLookups(rules, log: .silent)
        do {
            let delivery = configuration.devMode ? nil : try DeliverySettings(configuration)
            try lookups.start(delivery: delivery) { _, answer in answers.post(answer) }
        } catch {
            complain("\(error)")
            return .unavailable
        }
        defer { lookups.stop() }
        if let answer = lookups.ask(mailbox, for: ConnectionID(slot: 0, generation: 0)) {
            return answer
        }
        guard case .elements(let found) = answers.take(within: Self.patience) else {
            return .unavailable
        }
        return found[0]
    }

    private func origin(of step: Explanation.Step, _ loaded: LoadedConfiguration) -> String {
        loaded.origin(of: step.key)?.description ?? "default"
    }

    private func text(_ explanation: Explanation, _ loaded: LoadedConfiguration) -> [UInt8] {
        var text = ""
        for step in explanation.steps {
            let topic = step.topic + String(repeating: " ", count: max(1, 10 - step.topic.count))
            text += "\(topic)\(step.text)\n"
            text += "            \(step.key), \(origin(of: step, loaded))\n"
        }
        return Array("\(text)\n\(explanation.verdict)\n".utf8)
    }

    private func object(_ explanation: Explanation, _ loaded: LoadedConfiguration) -> JSONObject {
        var object = JSONObject()
        object.add("accepted", explanation.refusal == nil)
        object.add("verdict", explanation.verdict)
        object.add(
            "steps",
            explanation.steps.map { step in
                var object = JSONObject()
                object.add("topic", step.topic)
                object.add("text", step.text)
                object.add("key", step.key)
                object.add("origin", origin(of: step, loaded))
                return object
            })
        return object
    }
}

extension ForwardPath: ExpressibleByArgument {
    /// An address, or `postmaster` without a domain (RFC 5321 4.5.1).
    public init?(argument: String) {
        if argument.lowercased() == "postmaster" {
            self = .postmaster
        } else {
            guard let mailbox = Mailbox(argument) else { return nil }
            self = .mailbox(mailbox)
        }
    }
}

extension IPAddress: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(argument)
    }
}
