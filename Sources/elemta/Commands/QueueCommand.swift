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
            """,
        subcommands: [
            List.self, Show.self, Stats.self, Retry.self, Hold.self, Release.self, Delete.self,
        ])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the queued messages, oldest first.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var filter: FilterOptions
        @Flag(help: "One JSON object a line.") var json = false

        func run() throws {
            try QueueRequest(.list, filter.selection ?? .all, form: json ? .json : .table)
                .perform(options)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a message's envelope, its recipients' state and its attempts.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The message's id.") var id: MessageID
        @Flag(help: "The message's octets and nothing else.") var raw = false
        @Flag(help: "As a JSON object.") var json = false

        func validate() throws {
            if raw && json { throw ValidationError("--raw and --json exclude each other") }
        }

        func run() throws {
            let form: QueueRequest.Form = raw ? .raw : json ? .json : .table
            try QueueRequest(.show, .ids([id]), form: form).perform(options)
        }
    }

    struct Stats: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "The queue in numbers.")

        @OptionGroup var options: ConfigurationOptions
        @Flag(help: "As a JSON object.") var json = false

        func run() throws {
            try QueueRequest(.statistics, form: json ? .json : .table).perform(options)
        }
    }

    struct Retry: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Try messages again now, whatever their schedule says.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions

        func run() throws {
            try QueueRequest(.change(.retry), selected.selection).perform(options)
        }
    }

    struct Hold: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Keep messages from being tried until they are released.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions

        func run() throws {
            try QueueRequest(.change(.hold), selected.selection).perform(options)
        }
    }

    struct Release: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Release held messages.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions

        func run() throws {
            try QueueRequest(.change(.release), selected.selection).perform(options)
        }
    }

    struct Delete: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove messages without delivering or bouncing them.")

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selected: SelectionOptions

        func run() throws {
            try QueueRequest(.change(.delete), selected.selection).perform(options)
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

/// Ids, a filter, or everything: exactly one of them.
struct SelectionOptions: ParsableArguments {
    @Argument(help: "The messages' ids.") var ids: [MessageID] = []
    @OptionGroup var filter: FilterOptions
    @Flag(help: "All messages.") var all = false

    var selection: QueueSelection {
        if all { return .all }
        return filter.selection ?? .ids(ids)
    }

    func validate() throws {
        let given = (ids.isEmpty ? 0 : 1) + (all ? 1 : 0) + filter.selections.count
        guard given == 1 else {
            throw ValidationError(
                "name the messages by their ids, by --domain, --sender or --state, or by --all")
        }
    }
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
        let loaded = try options.load()
        switch ControlClient.ask(words, queueDirectory: loaded.configuration.queueDir) {
        case .finished(let status):
            if status != 0 { throw ExitCode(status) }
        case .broken:
            complain("the server went away before it had answered")
            throw ExitStatus.unavailable.code
        case .noServer:
            try performOnStoppedServer(
                SpoolOptions(loaded.configuration))
        }
    }
}
