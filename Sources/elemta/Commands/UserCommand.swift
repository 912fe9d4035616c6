import ArgumentParser
import ElemtaAuthentication
import ElemtaConfiguration
import Glibc

struct UserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user",
        abstract: "Look at the users file and change it.",
        discussion: """
            The file is the one that auth.file_path or --file names. A running server notices the \
            change by itself. Passwords are asked for; without a terminal the first line of standard \
            input is the password.

            Exit status: 0 done, 64 the command line is wrong, 65 a name, password or sender \
            can't be one, 67 there is no such user, 71 the file can't be written, 75 nobody could \
            tell, 77 the password is not the right one, 78 the configuration or the file is wrong.
            """,
        subcommands: [Add.self, Delete.self, List.self, Check.self])

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a user, or give one another password.",
            discussion: """
                Makes the file where there is none: mode 0600, or 0640 and of the group of the \
                configuration's user when root runs this, so that the server can read it.
                """)

        @OptionGroup var options: UsersFileOptions
        @Argument(help: "The name that the user logs in with, such as alice@example.com.")
        var name: String
        @Option(
            help: ArgumentHelp(
                "What the user may send as: an address, example.com or .example.com.",
                discussion: "May be repeated. Without it a new user may send as anybody.",
                valueName: "sender"))
        var sender: [String] = []
        @Flag(help: "Hash with bcrypt, for files that other programs read; else yescrypt.")
        var bcrypt = false

        func run() throws {
            let (path, group) = try options.pathAndGroup()
            let password = try PasswordPrompt.newPassword(for: name)
            let hash: PasswordHash
            do throws(PasswordHash.Failure) {
                hash = try PasswordHash.make(password, with: bcrypt ? .bcrypt : .yescrypt)
            } catch {
                let limit = bcrypt ? "; bcrypt takes at most 72 octets" : ""
                complain("found \(error)\(limit)")
                throw ExitStatus.dataError.code
            }
            let isNew = try UserCommand.change(path, isMade: true, group: group) {
                document throws(UsersFileChangeError) in
                try document.set(name, hash, senders: sender.isEmpty ? nil : sender)
            }
            print("\(path): \(isNew ? "added" : "changed") \(harmless(name))")
        }
    }

    struct Delete: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a user.")

        @OptionGroup var options: UsersFileOptions
        @Argument(help: "The user's name.") var name: String

        func run() throws {
            let path = try options.path()
            try UserCommand.change(path, isMade: false) {
                document throws(UsersFileChangeError) in try document.remove(name)
            }
            print("\(path): deleted \(harmless(name))")
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the users, how their passwords are kept and what they may send as.")

        @OptionGroup var options: UsersFileOptions
        @Flag(help: "One JSON object a line.") var json = false

        func run() throws {
            let path = try options.path()
            let document: UsersDocument
            do throws(FileErrors) {
                document = try UsersDocument.read(path)
            } catch {
                complain("\(error)")
                throw ExitStatus.configuration.code
            }
            let output = TerminalOutput()
            for user in document.users {
                var object = JSONObject()
                object.add("user", user.name)
                object.add("password", user.method)
                if let senders = user.allowedSenders { object.add("allowed_senders", senders) }
                let senders = user.allowedSenders?.joined(separator: " ") ?? "anybody"
                let line = "\(harmless(user.name))\t\(user.method)\t\(harmless(senders))\n"
                guard output.write(json ? object.line : Array(line.utf8)) else { return }
            }
        }
    }

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a user's password as the server would.",
            discussion: """
                Exit status 0 when it is right, 77 when not, 75 when nobody could tell. Asks the \
                directory where auth.backend is ldap, unless a --file is named.
                """)

        @OptionGroup var options: UsersFileOptions
        @Argument(help: "The user's name.") var name: String

        func run() throws {
            let source = try options.source()
            let password = try PasswordPrompt.password(for: name)
            switch source.backend.verify(Credentials(user: name, password: password)) {
            case .accepted:
                print("\(harmless(name)): the password is right")
            case .rejected:
                complain("\(harmless(name)): no such user, or not this password")
                throw ExitStatus.noPermission.code
            case .temporarilyUnavailable:
                complain("\(harmless(name)): nobody could be asked")
                throw ExitStatus.temporaryFailure.code
            }
        }
    }

    /// Changes the file; an error is printed and becomes the exit status.
    fileprivate static func change<Result>(
        _ path: String, isMade: Bool, group: UInt32? = nil,
        _ body: (inout UsersDocument) throws(UsersFileChangeError) -> Result
    ) throws -> Result {
        do throws(UsersFileChangeError) {
            return try UsersDocument.change(path, isMade: isMade, group: group, body)
        } catch {
            complain("\(error)")
            switch error {
            case .unreadable: throw ExitStatus.configuration.code
            case .unwritable: throw ExitStatus.systemError.code
            case .unknownUser: throw ExitStatus.noUser.code
            case .invalidName, .notASender, .holdsNoSenders: throw ExitStatus.dataError.code
            }
        }
    }
}

/// A name for the terminal, on one line.
private func harmless(_ text: String) -> String {
    text.unicodeScalars.allSatisfy(\.isHarmless) ? text : JSONObject.quoted(text)
}

/// Which file holds the users.
struct UsersFileOptions: ParsableArguments {
    @OptionGroup var options: ConfigurationOptions
    @Option(
        help: ArgumentHelp("The users file, instead of auth.file_path.", valueName: "file"))
    var file: String?

    /// Who is asked about users: the file that is named, else what the configuration says.
    func source() throws -> LoginsSource {
        do {
            if let file { return try LoginsSource(file: file, log: .silent) }
            return try LoginsSource(try options.load().configuration.auth, log: .silent)
        } catch let error as LoginsError {
            for problem in error.problems { complain(problem) }
            throw ExitStatus.configuration.code
        }
    }

    func path() throws -> String {
        if let file { return file }
        return try path(options.load().configuration.auth)
    }

    /// Also the group that is to read a new file: that of the user whom root's server becomes.
    func pathAndGroup() throws -> (String, group: UInt32?) {
        guard geteuid() == 0 else { return (try path(), nil) }
        let configuration: Configuration
        do {
            configuration = try options.load().configuration
        } catch {
            // What is wrong has been said; a file that is named doesn't depend on it.
            guard let file else { throw error }
            return (file, nil)
        }
        let account: Account?
        do throws(Account.Failure) {
            account = try Account(configuration.user)
        } catch {
            complain("\(error)")
            throw ExitStatus.configuration.code
        }
        return (try file ?? path(configuration.auth), account?.group)
    }

    private func path(_ auth: Configuration.Auth) throws -> String {
        guard auth.backend == .file else {
            complain("auth.backend is \(auth.backend): its users are elsewhere; or name a --file")
            throw ExitStatus.configuration.code
        }
        if !auth.enabled { complain("warning: auth.enabled is false: nobody can log in yet") }
        return auth.filePath
    }
}
