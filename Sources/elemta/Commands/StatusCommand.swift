import ArgumentParser
import ElemtaConfiguration

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Tell what the running server is doing.",
        discussion: """
            Asks through control.sock in queue_dir. Exit status 69 when no server runs there, 77 when \
            this user may not ask: be the server's user, or root.
            """)

    @OptionGroup var options: ConfigurationOptions
    @Flag(help: "As a JSON object.") var json = false

    func run() throws {
        let directory = try options.load().configuration.queueDir
        let words = ServerInquiry.status(isJSON: json).words
        switch ControlClient.ask(words, queueDirectory: directory) {
        case .finished(status: 0): break
        case .finished(let status): throw ExitCode(status)
        case .broken:
            complain("the server went away before it had answered")
            throw ExitStatus.unavailable.code
        case .noServer:
            let silence = ControlClient.silence(queueDirectory: directory)
            complain(silence.text)
            throw silence.status.code
        }
    }
}

struct HealthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Ask the running server whether it is well: exit status 0 or 1.",
        discussion: """
            For a container's HEALTHCHECK and for scripts. The server's loop has to answer through \
            control.sock in queue_dir within five seconds; that takes the same configuration and \
            user as the server has, writes nothing, and needs neither a network nor http.listen_addr. \
            Exit status 77 when this user may not ask.
            """)

    /// How long a loop that is well may take, seconds.
    private static let patience = 5

    @OptionGroup var options: ConfigurationOptions
    @Flag(help: "Whether it accepts mail: not while it drains, or the disk is full or in trouble.")
    var ready = false

    func run() throws {
        let directory = try options.load().configuration.queueDir
        let words = ServerInquiry.health(isReadiness: ready).words
        switch ControlClient.ask(words, queueDirectory: directory, patience: Self.patience) {
        case .finished(status: 0): return
        case .finished: break
        case .broken: complain("the server doesn't answer")
        case .noServer:
            let silence = ControlClient.silence(queueDirectory: directory)
            complain(silence.text)
            if silence.status == .noPermission { throw silence.status.code }
        }
        throw ExitStatus.failure.code
    }
}
