public import ArgumentParser
import ElemtaConfiguration
public import ElemtaQueue
public import ElemtaSMTP

struct QueueCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queue",
        abstract: "Look at the queue and change it.",
        discussion: """
            Asks the running server through its control socket; when none runs, opens the queue \
            itself.

            Exit status: 0 done, 1 not all of it could be done, 64 the command line is wrong, 66 \
            there is no such message or no queue, 69 the queue can't be used, 75 another process \
            has the queue, 77 it belongs to another user, 78 the configuration is wrong.
            """,
        subcommands: [
            List.self, Show.self, Why.self, Stats.self, Retry.self, Hold.self, Release.self,
            Delete.self, Compact.self,
        ])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the queued messages, oldest first; all unless some are named.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions
        @Flag(help: "One JSON object a line.") var json = false

        func run() throws {
            try QueueRequest(.list, selected.selection ?? .all, form: json ? .json : .table)
                .perform(options)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show messages' envelopes, their recipients' state and their attempts.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions
        @Flag(help: "One message's octets and nothing else.") var raw = false
        @Flag(help: "One JSON object a line.") var json = false

        func validate() throws {
            try selected.validateIsGiven()
            if raw && json { throw ValidationError("--raw and --json exclude each other") }
            if raw && selected.ids.count != 1 { throw ValidationError("--raw takes one id") }
        }

        func run() throws {
            let form: QueueRequest.Form = raw ? .raw : json ? .json : .table
            try QueueRequest(.show, selected.selection ?? .all, form: form).perform(options)
        }
    }

    struct Why: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tell messages' stories: where from, where to and why, what comes next.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions
        @Flag(help: "One JSON object a line.") var json = false

        func validate() throws { try selected.validateIsGiven() }

        func run() throws {
            try QueueRequest(.why, selected.selection ?? .all, form: json ? .json : .table)
                .perform(options)
        }
    }

    struct Stats: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The queue in numbers, or the messages that are named.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions
        @Flag(help: "As a JSON object.") var json = false

        func run() throws {
            try QueueRequest(.statistics, selected.selection ?? .all, form: json ? .json : .table)
                .perform(options)
        }
    }

    struct Retry: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Try messages again now, whatever their schedule says.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var change: ChangeOptions

        func run() throws {
            try change.request(.retry).perform(options)
        }
    }

    struct Hold: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Keep messages from being tried until they are released.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var change: ChangeOptions

        func run() throws {
            try change.request(.hold).perform(options)
        }
    }

    struct Release: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Release held messages.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var change: ChangeOptions

        func run() throws {
            try change.request(.release).perform(options)
        }
    }

    struct Delete: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove messages without delivering or bouncing them.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var change: ChangeOptions

        func run() throws {
            try change.request(.delete).perform(options)
        }
    }
}

extension QueueCommand {
    struct Compact: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Make the queue's file as small as what is in it; the server must be stopped.",
            discussion: """
                A spool uses the room of messages that have gone again, and never gives it back to \
                the file system. This needs as much free room as the result has.
                """)

        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "As a JSON object.") var json = false

        func run() throws {
            let loaded = try options.load()
            let output = TerminalOutput()
            output.tell("copying \(loaded.configuration.queueDir)/spool.mdb")
            let report: CompactionReport
            do throws(SpoolError) {
                report = try Spool.compact(SpoolOptions(loaded.configuration))
            } catch {
                if case .held = error {
                    output.complain("\(error); stop the server first")
                } else {
                    output.complain("\(error)")
                }
                throw ExitStatus(opening: error).code
            }
            _ = output.write(
                QueuePrinter(form: json ? .json : .table, remark: .reason).compaction(report))
            try output.end()
        }
    }
}

/// Messages by what they are like: at most one of the options.
struct FilterOptions: ParsableArguments {
    @Option(help: "Only messages with a recipient in this domain.")
    var domain: Domain?

    @Option(help: "Only messages from this address; \"<>\" for reports.")
    var sender: ReversePath?

    @Option(help: "Only messages in this state.")
    var state: QueueState?

    var selections: [QueueSelection] {
        [domain.map { .domain($0) }, sender.map { .sender($0) }, state.map { .state($0) }]
            .compactMap { $0 }
    }

    var selection: QueueSelection? { selections.first }

    func validate() throws {
        guard selections.count <= 1 else {
            throw ValidationError("--domain, --sender and --state exclude each other")
        }
    }
}

/// Ids, a filter, or everything: at most one of them.
struct SelectionOptions: ParsableArguments {
    @Argument(help: "The messages' ids.") var ids: [MessageID] = []
    @OptionGroup var filter: FilterOptions
    @Flag(help: "All messages.") var all = false

    /// Nil when none is named.
    var selection: QueueSelection? {
        if all { return .all }
        return filter.selection ?? (ids.isEmpty ? nil : .ids(ids))
    }

    private static let ways = "by their ids, by --domain, --sender or --state, or by --all"

    func validate() throws {
        let given = (ids.isEmpty ? 0 : 1) + (all ? 1 : 0) + filter.selections.count
        guard given <= 1 else {
            throw ValidationError("name the messages in one way: \(Self.ways)")
        }
    }

    /// For commands that do nothing unless they are told to whom.
    func validateIsGiven() throws {
        guard selection != nil else { throw ValidationError("name the messages \(Self.ways)") }
    }
}

/// What is done to whom, and how that is told.
struct ChangeOptions: ParsableArguments {
    @OptionGroup var selected: SelectionOptions
    @Flag(help: "What was done, as a JSON object.") var json = false

    func request(_ operation: QueueOperation) -> QueueRequest {
        QueueRequest(
            .change(operation), selected.selection ?? .ids([]), form: json ? .json : .table)
    }

    func validate() throws { try selected.validateIsGiven() }
}

extension MessageID: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(argument)
    }
}

extension Domain: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(argument)
    }
}

extension ReversePath: ExpressibleByArgument {
    /// An address, or nothing (also `<>`) for reports.
    public init?(argument: String) {
        if argument.isEmpty || argument == "<>" {
            self = .null
        } else {
            guard let mailbox = Mailbox(argument) else { return nil }
            self = .mailbox(mailbox)
        }
    }
}

extension QueueState: ExpressibleByArgument {}

extension QueueRequest {
    /// Asks the running server, else opens the queue; throws the exit status.
    func perform(_ options: ConfigurationOptions) throws {
        // Who goes away is an error of a write, of which the status can be told.
        ignoreBrokenPipes()
        let loaded = try options.load()
        switch ControlClient.ask(words, queueDirectory: loaded.configuration.queueDir) {
        case .finished(let status):
            if status != 0 { throw ExitCode(status) }
        case .broken:
            complain("the server went away before it had answered")
            throw ExitStatus.unavailable.code
        case .noServer:
            try performOnStoppedServer(
                SpoolOptions(loaded.configuration), rules: rules(loaded.configuration))
        }
    }

    /// For `why`, the only one that tells of them.
    private func rules(_ configuration: Configuration) -> DeliveryRules? {
        guard action == .why, !configuration.devMode else { return nil }
        do throws(RelayLoginError) {
            return try DeliveryRules(configuration)
        } catch {
            complain("\(error)")
            return nil
        }
    }
}
