import ArgumentParser
import ElemtaConfiguration
import ElemtaQueue
import ElemtaReactor
import Glibc
import Logging

struct ServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "server",
        abstract: "Run the server in the foreground (the default).",
        discussion: """
            One log line `ready` names the addresses once clients are served; at a terminal five \
            lines say what is on and what is off. SIGTERM and SIGINT let running transactions \
            finish, then stop; a second one stops at once. SIGHUP opens the log file anew and \
            loads the configuration with all that it names; a wrong one changes nothing.

            Exit status: 0 stopped by a signal, 64 the command line is wrong, 69 the queue can't \
            be used, 71 the system refuses (a port, a descriptor, a thread), 75 another server \
            has the queue, 78 the configuration is wrong.
            """)

    @OptionGroup var options: ConfigurationOptions

    @Option(
        help: ArgumentHelp(
            "Listen on this address only, whatever the configuration says.",
            discussion: "\":2525\" is all addresses; \"127.0.0.1:2525\"; \"[::1]:2525\".",
            valueName: "address"))
    var listen: String?

    @Flag(
        help: ArgumentHelp(
            "Take the place of the server that runs on the same queue, refusing nobody.",
            discussion: """
                It hands over its listening sockets, finishes what runs and ends; should this one \
                fail before it serves, the other one goes on. Without a running server this is an \
                ordinary start.
                """))
    var takeover = false

    @Flag(help: "Development mode: messages are shown, not delivered (dev_mode).")
    var dev = false

    func run() throws {
        PendingSignals.keepHangups()
        var overrides: [Configuration.Override] = []
        if let listen {
            overrides.append(.init(key: "listen_addr", value: listen, option: "--listen"))
        }
        if dev { overrides.append(.init(key: "dev_mode", value: "true", option: "--dev")) }
        let loaded = try options.load(overrides: overrides)
        let configuration = loaded.configuration
        let account: Account?
        let writer: LogWriter
        do {
            try FewDescriptors.check()
            account = try Account(configuration.user)
            if let account {
                try checkQueue(configuration, isFor: account)
                try account.prepare(configuration)
            }
            let logging = configuration.logging
            writer = try LogWriter(
                file: logging.file ?? "", form: LogLine.Form(logging.format),
                level: logging.swiftLogLevel)
        } catch {
            complain("\(error)\(takeover ? "" : Self.advice(on: error))")
            throw Self.status(for: error).code
        }
        defer { writer.stop() }
        let log = Logger(label: "elemta") { _ in
            WriterLogHandler(writer: writer)
        }
        log.write(.starting, [.version: "\(Elemta.version)", .configuration: "\(loaded.source)"])
        if let problem = account?.problemOfRotation(configuration) {
            log.write(.configurationWarning, [.warning: "\(problem)"])
        }
        do {
            // The file that was found, wherever it was looked for; another one would be found where
            // there was none.
            var source = options
            if case .file(let path) = loaded.source { source.config = path }
            let (path, overriding) = (source.config, overrides)
            let reader: NewSettings.Reader = { () throws(ConfigurationErrors) in
                try Configuration.load(
                    explicitPath: path, environment: Configuration.processEnvironment(),
                    overrides: overriding)
            }
            try serve(configuration, as: account, reader, log, writer)
        } catch {
            let text = "\(error)\(takeover ? "" : Self.advice(on: error))"
            log.write(.cannotStart, [.error: "\(text)"])
            complain(text)
            throw Self.status(for: error).code
        }
    }

    /// Before it is given to the account: what a running server has stays its own, unless it was root.
    private func checkQueue(_ configuration: Configuration, isFor account: Account) throws {
        guard !configuration.devMode else { return }
        do throws(SpoolError) {
            try QueueLock.checkIsFree(configuration.queueDir)
        } catch {
            guard takeover, case .held = error else { throw error }
            guard let owner = Account.owner(of: configuration.queueDir) else { return }
            guard owner == 0 || owner == account.user else {
                throw TakeoverError(
                    reason: "\(configuration.queueDir) belongs to another user (\(owner)) than "
                        + "\(account.name); stop it, then start this one")
            }
        }
    }

    private static func advice(on error: any Error) -> String {
        guard case SpoolError.held = error else { return "" }
        return "; to take the place of a running server: elemta server --takeover"
    }

    private func serve(
        _ configuration: Configuration, as account: Account?,
        _ reader: @escaping NewSettings.Reader, _ log: Logger, _ writer: LogWriter
    ) throws {
        let other = takeover ? try Takeover(queueDirectory: configuration.queueDir) : nil
        if other != nil { log.write(.takingOver) }
        var bound = try Self.bind(
            configuration, former: other?.takeSockets() ?? [], as: account, log)
        var predecessor = other
        var current = configuration
        while true {
            // Nothing here keeps the sockets: they are to refuse once the server drops them.
            let server = try Server(
                current, bound: Self.taken(&bound), takingOver: predecessor, reader: reader,
                log: log, logWriter: writer)
            guard case .deserted = try server.run() else { return }
            bound = server.bound
            current = server.configuration
            predecessor = nil
            Takeover.waitForQueue(current.queueDir)
        }
    }

    private static func taken(_ bound: inout Server.Sockets) -> Server.Sockets {
        defer { bound = ([], []) }
        return bound
    }

    /// What takes root, and then no more root.
    private static func bind(
        _ configuration: Configuration, former: [ListeningSocket], as account: Account?,
        _ log: Logger
    ) throws -> Server.Sockets {
        let bound = try bind(configuration, former: former)
        if let account {
            try account.become()
            log.write(.userChanged, [.user: "\(account.name)"])
        } else if geteuid() == 0 {
            log.write(
                .runningAsRoot,
                [.advice: "set user: the server becomes it once its ports are bound"])
        }
        return bound
    }

    /// A server that is there already is a better answer than the port that it has.
    private static func bind(
        _ configuration: Configuration, former: [ListeningSocket]
    ) throws -> Server.Sockets {
        let inherited = try ServiceManager.inheritedSockets()
        do throws(BindError) {
            return try BoundListener.bind(
                configuration, inherited: inherited, former: former)
        } catch {
            if error.isTaken, !configuration.devMode {
                try QueueLock.checkIsFree(configuration.queueDir)
            }
            throw error
        }
    }

    /// What keeps a server from starting, as sysexits(3) has it.
    private static func status(for error: any Error) -> ExitStatus {
        switch error {
        case SpoolError.held, is TakeoverError: .temporaryFailure
        case is SpoolError: .unavailable
        case is CertificatesError, is LoginsError, is AccessTokenError, is RecipientsError,
            is RelayLoginError,
            Account.Failure.unknown, Account.Failure.notRoot:
            .configuration
        default: .systemError
        }
    }
}

extension LogLine.Form {
    init(_ format: Configuration.Logging.Format) {
        switch format {
        case .text: self = .text
        case .json: self = .json
        }
    }
}

extension Configuration.Logging {
    var swiftLogLevel: Logger.Level {
        switch level {
        case .debug: .debug
        case .info: .info
        case .warning: .warning
        case .error: .error
        }
    }
}
