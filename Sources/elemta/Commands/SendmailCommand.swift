import ArgumentParser
import ElemtaConfiguration
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc

/// What programs call that expect sendmail(8). It parses its words itself: sendmail's options aren't
/// those of other programs (`-oi`, `-fADDRESS`).
struct SendmailCommand: ParsableCommand {
    static let name = "sendmail"
    static let configuration = CommandConfiguration(
        commandName: name,
        abstract: "Hand a message on standard input to the running server.",
        usage: "elemta sendmail [-t] [-i] [-f ADDRESS] [-F NAME] [-C FILE] [RECIPIENT ...]",
        discussion: """
            For programs that call sendmail(8); a link named sendmail to this program does the same. \
            -t takes the recipients of To, Cc and Bcc, too, and Bcc out of the message; a lone dot \
            ends the message unless -i is given; -f says where reports go, -F who is named in a missing \
            From. A missing From, Date and Message-ID is added. -N, -R and -V are those of sendmail, -bs \
            speaks SMTP with the server, -bp lists the queue, and what else sendmail knows is accepted \
            and ignored. Exit status, as in sysexits(3): 75 when there is no server, 67 when \
            there is no such recipient. The server is found by the configuration, -C FILE or --config \
            FILE.
            """)

    @Argument(
        parsing: .captureForPassthrough,
        help: ArgumentHelp("Options as sendmail(8) has them, and recipients.", valueName: "words"))
    var words: [String] = []

    func run() throws {
        if words == ["--help"] || words == ["-h"] { throw CleanExit.helpRequest(Self.self) }
        let arguments: SendmailArguments
        do throws(SendmailArguments.Failure) {
            arguments = try SendmailArguments(words)
        } catch {
            complain("\(error)")
            throw ExitStatus.usage.code
        }
        if arguments.mode == .nothing { return }
        let options = try ConfigurationOptions.parse(
            arguments.configuration.map { ["--config", $0] } ?? [])
        switch arguments.mode {
        case .nothing: return
        case .listQueue: try QueueRequest(.list, .all, form: .table).perform(options)
        case .speakSMTP: try speak(to: try server(try options.load().configuration))
        case .deliver: try deliver(arguments, try options.load().configuration)
        }
    }

    private func server(_ configuration: Configuration) throws -> SendmailServer {
        do throws(SendmailServer.NoListener) {
            return try SendmailServer(configuration)
        } catch {
            complain("every listener begins with TLS or a load balancer's header")
            throw ExitStatus.configuration.code
        }
    }

    private func speak(to server: SendmailServer) throws {
        do {
            try SendmailPassage.run(to: server.address)
        } catch {
            complain("no server at \(server.address): \(error)")
            throw ExitStatus.temporaryFailure.code
        }
    }

    private func deliver(_ arguments: SendmailArguments, _ configuration: Configuration) throws {
        let server = try server(configuration)
        var message = SendmailMessage(try input(arguments, configuration))
        let envelope: SendmailEnvelope
        do throws(SendmailEnvelope.Failure) {
            envelope = try SendmailEnvelope(
                arguments, &message, of: .own, in: configuration.hostname,
                // Another process may draw the same id in the same millisecond.
                id: "\(MessageIDSource().next()).\(getpid())", time: SpoolOptions.systemClock())
        } catch {
            complain(error.text)
            throw error.status.code
        }
        let status = try server.send(message.octets, to: envelope)
        if status != .success { throw status.code }
    }

    private func input(
        _ arguments: SendmailArguments, _ configuration: Configuration
    ) throws -> [UInt8] {
        var input = SendmailInput(
            endsAtDot: !arguments.ignoresDots, maximumCount: configuration.maxMessageSize)
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        do {
            while !input.hasEnded {
                let count = Descriptors.read(STDIN_FILENO, into: &buffer)
                guard count >= 0 else {
                    complain("standard input cannot be read: \(lastErrorText())")
                    throw ExitStatus.noInput.code
                }
                if count == 0 { break }
                try input.append(buffer.prefix(count))
            }
            try input.finish()
        } catch is SendmailInput.Failure {
            complain(
                "the message is too large; allowed: at most \(configuration.maxMessageSize) octets")
            throw ExitStatus.dataError.code
        }
        return input.octets
    }
}
