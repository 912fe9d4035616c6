import ElemtaAuthentication
import ElemtaConfiguration
import Logging

/// Why nobody could log in with this configuration. Names file, place and user, never a secret.
enum LoginsError: Error, CustomStringConvertible {
    /// `auth.file_path`.
    case users(FileErrors)
    /// `auth.ldap`.
    case directory(DirectoryError)

    /// One line a problem.
    var description: String { problems.joined(separator: "\n") }

    /// Never empty.
    var problems: [String] {
        switch self {
        case .users(let errors): errors.problems.map(\.description)
        case .directory(let error): ["\(error)"]
        }
    }
}

/// The back end that `auth.backend` names, and how it is read again. Any thread.
enum LoginsSource {
    case file(UsersFile)
    case directory(Directory)

    /// Reads the users file, or checks the directory's settings without asking it. What becomes of
    /// either later goes to the log.
    init(_ auth: Configuration.Auth, log: Logger) throws(LoginsError) {
        switch auth.backend {
        case .file: try self.init(file: auth.filePath, log: log)
        case .ldap:
            do throws(DirectoryError) {
                self = .directory(try Directory(auth.ldap, at: "auth.ldap", log: log))
            } catch {
                throw .directory(error)
            }
        }
    }

    /// Reads the users file at `path`, whatever the configuration says.
    init(file path: String, log: Logger) throws(LoginsError) {
        do throws(FileErrors) {
            self = .file(try UsersFile(path) { LoginsLog.write($0, to: log) })
        } catch {
            throw .users(error)
        }
    }

    var backend: any AuthenticationBackend {
        switch self {
        case .file(let file): file
        case .directory(let directory): directory
        }
    }

    /// For an operator: where the users are and, where that is known, how many.
    var summary: String {
        switch self {
        case .file(let file): "\(file.path), \(file.users.count) users"
        case .directory(let directory): directory.configuration.url
        }
    }

    /// What is allowed and still looks like a mistake, a sentence each.
    var warnings: [String] {
        switch self {
        case .file(let file): file.users.warnings.map(\.description)
        case .directory(let directory): directory.warnings
        }
    }

    /// False also where only the directory knows.
    func hasUser(_ name: String) -> Bool {
        switch self {
        case .file(let file): file.users.passwordHash(of: name) != nil
        case .directory: false
        }
    }

    /// Nil when the user isn't known here, or may send as anybody.
    func allowedSenders(of user: String) -> AllowedSenders? {
        switch self {
        case .file(let file): file.users.allowedSenders(of: user)
        case .directory: nil
        }
    }

    /// Blocks while it reads.
    func reloadIfChanged() {
        switch self {
        case .file(let file): file.reloadIfChanged()
        case .directory: break
        }
    }

    /// Nobody is to be verified any more: makes what waits for a directory fail.
    func stop() {
        switch self {
        case .file: break
        case .directory(let directory): directory.stop()
        }
    }
}
