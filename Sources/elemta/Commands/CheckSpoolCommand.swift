import ArgumentParser
import ElemtaQueue

/// What the server starts after an unclean stop: damaged pages end this process and not the server.
struct CheckSpoolCommand: ParsableCommand {
    static let name = "check-spool"
    static let configuration = CommandConfiguration(
        commandName: name, abstract: "Read all of a queue that nobody has open.",
        shouldDisplay: false)

    @Argument(help: "The queue's directory.") var queue: String

    func run() throws {
        throw ExitCode(SpoolCheck.run(queue: queue))
    }
}
