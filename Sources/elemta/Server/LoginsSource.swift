import ElemtaAuthentication
import ElemtaConfiguration
import ElemtaSMTP
import ElemtaThreads
import Logging

/// Why nobody could log in with this configuration. Names file, place and user, never a secret.
enum LoginsError: Error, CustomStringConvertible {
    /// `auth.file_path`.
    case users(UsersFileErrors)
    /// `auth.ldap.bind_password_file`.
    case bindPassword(SecretFileError)
    /// `auth.ldap`.
    case directory(LDAPSettingsError)

    /// One line a problem.
    var description: String { problems.joined(separator: "\n") }

    /// Never empty.
    var problems: [String] {
        switch self {
        case .users(let errors): errors.problems.map(\.description)
        case .bindPassword(let error): ["auth.ldap.bind_password_file: \(error)"]
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
        case .file:
            do throws(UsersFileErrors) {
                self = .file(try UsersFile(auth.filePath) { LoginsLog.write($0, to: log) })
            } catch {
                throw .users(error)
            }
        case .ldap: self = .directory(try Directory(auth.ldap, log: log))
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
    func reload() {
        switch self {
        case .file(let file): file.reload()
        case .directory(let directory): directory.reload()
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

extension LoginsSource {
    /// The directory of `auth.ldap`, whose password and authorities can be read again.
    final class Directory: AuthenticationBackend {
        let configuration: Configuration.LDAP
        private let log: Logger
        private let current: Locked<LDAPDirectory>

        init(_ configuration: Configuration.LDAP, log: Logger) throws(LoginsError) {
            self.configuration = configuration
            self.log = log
            current = Locked(try Self.open(configuration, log))
        }

        /// What is allowed and still looks like a mistake.
        var warnings: [String] {
            var warnings: [String] = []
            if configuration.isReadOnItsWay {
                warnings.append(
                    "auth.ldap.url: \(configuration.url): passwords cross the network readable; "
                        + "set auth.ldap.starttls, or use ldaps://")
            }
            if case .file(let path) = configuration.bindPassword, isReadByEverybody(path) {
                warnings.append(
                    "\(path): is readable by every user of the system; allowed to fewer: chmod 640")
            }
            return warnings
        }

        func verify(_ credentials: Credentials) -> AuthenticationResult {
            current.withLock { $0 }.verify(credentials)
        }

        /// Whoever is being verified keeps the former one to the end.
        func reload() {
            do throws(LoginsError) {
                let directory = try Self.open(configuration, log)
                current.withLock { $0 = directory }
                log.notice("directory_reloaded", metadata: ["url": "\(configuration.url)"])
            } catch {
                log.error("directory_not_reloaded", metadata: ["error": "\(error)"])
            }
        }

        func stop() {
            current.withLock { $0 }.stop()
        }

        private static func open(
            _ configuration: Configuration.LDAP, _ log: Logger
        ) throws(LoginsError) -> LDAPDirectory {
            let settings: LDAPSettings
            do throws(SecretFileError) {
                settings = try LDAPSettings(configuration)
            } catch {
                throw .bindPassword(error)
            }
            do throws(LDAPSettingsError) {
                return try LDAPDirectory(settings) { LoginsLog.write($0, to: log) }
            } catch {
                throw .directory(error)
            }
        }
    }
}

extension Configuration.LDAP {
    /// Whether passwords go to another machine in clear.
    fileprivate var isReadOnItsWay: Bool {
        !starttls
            && url.split(separator: " ").contains { url in
                guard url.lowercased().hasPrefix("ldap://") else { return false }
                let authority = url.dropFirst(7).prefix { $0 != "/" && $0 != "?" }
                // Libldap takes no host for its own.
                let host =
                    authority.first == "["
                    ? authority.dropFirst().prefix { $0 != "]" } : authority.prefix { $0 != ":" }
                return !host.isEmpty && host.lowercased() != "localhost"
                    && IPAddress(String(host))?.isLoopback != true
            }
    }
}

extension LDAPSettings {
    /// Reads the password of `bind_dn` where it is in a file.
    init(_ configuration: Configuration.LDAP) throws(SecretFileError) {
        self.init(url: configuration.url)
        baseDN = configuration.baseDN
        bindDN = configuration.bindDN
        bindPassword = try configuration.bindPassword.read().map { Password($0.revealed) }
        userFilter = configuration.userFilter
        startTLS = configuration.starttls
        caFile = configuration.caFile
        timeout = .seconds(configuration.timeout)
    }
}
