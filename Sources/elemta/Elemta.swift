import ArgumentParser

/// The command line of design section 7.
@main struct Elemta: ParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "elemta",
        abstract: "An SMTP server and mail transfer agent for very many connections.",
        discussion: """
            Without a subcommand the server starts in the foreground. 250 means on disk: a message \
            that was accepted survives a crash of the process and of the machine.
            """,
        version: "elemta \(version)",
        subcommands: [
            ServerCommand.self, CheckCommand.self, QueueCommand.self, SendmailCommand.self,
            ExplainCommand.self, UserCommand.self, StatusCommand.self, HealthCommand.self,
            VersionCommand.self, CheckSpoolCommand.self,
        ],
        defaultSubcommand: ServerCommand.self)

    /// Called by a link named `sendmail`, `mailq` or `newaliases` it is that program.
    static func main() {
        let words = CommandLine.arguments
        // Swift reads them there. Without this `elemta check` would start a server.
        if words.isEmpty {
            complain("the command line can't be read: /proc isn't mounted")
            exit(withError: ExitStatus.systemError.code)
        }
        let rest = Array(words.dropFirst())
        switch words.first?.split(separator: "/").last {
        case "sendmail": main([SendmailCommand.name] + rest)
        case "mailq": main([SendmailCommand.name, "-bp"] + rest)
        case "newaliases": main([SendmailCommand.name, "-bi"] + rest)
        default: main(rest)
        }
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version.")

    func run() {
        print("elemta \(Elemta.version)")
    }
}

/// Exit statuses of sysexits(3), which service managers and scripts understand.
enum ExitStatus: UInt8, Sendable {
    case success = 0
    /// Some of what was asked for could not be done.
    case failure = 1
    /// The command line can't be understood.
    case usage = 64
    /// A message that can't be sent as it is, or a password that can't be one.
    case dataError = 65
    /// A message or a file isn't there.
    case noInput = 66
    /// There is no such recipient, or no such user.
    case noUser = 67
    /// The service isn't there.
    case unavailable = 69
    /// The system refuses: no descriptor, no thread, no permission to bind.
    case systemError = 71
    /// What was to be printed can't be written.
    case ioError = 74
    /// Try again later: somebody else holds the queue.
    case temporaryFailure = 75
    /// The server wants a login, or a password isn't the right one.
    case noPermission = 77
    /// The configuration can't be used.
    case configuration = 78

    /// As a command throws it.
    var code: ExitCode { ExitCode(Int32(rawValue)) }
}
