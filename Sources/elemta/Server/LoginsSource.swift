import ElemtaAuthentication
import ElemtaConfiguration
import Logging
import Synchronization

/// Why nobody could log in with this configuration. Names file, place and user, never a secret.
enum LoginsError: Error, CustomStringConvertible {
    /// `auth.file_path`.
    case users(UsersFileErrors)
    /// `auth.ldap.bind_password_file`.
    case bindPassword(SecretFileError)
    /// `auth.ldap`.
    case directory(LDAPSettingsError)

    var description: String {
        switch self {
        case .users(let errors): "\(errors)"
        case .bindPassword(let error): "auth.ldap.bind_password_file: \(error)"
        case .directory(let error): "\(error)"
        }
    }
}

/// The back end that `auth.backend` names, and how it is read again. Any thread.
enum LoginsSource {
    case file(UsersFile, Logger)
    case directory(Directory)

    /// Reads the users file, or checks the directory's settings; warnings go to the log.
    init(_ auth: Configuration.Auth, log: Logger) throws(LoginsError) {
        switch auth.backend {
        case .file:
            do throws(UsersFileErrors) {
                let file = try UsersFile(auth.filePath) { LoginsLog.write($0, to: log) }
                LoginsLog.write(file.users.warnings, to: log)
                self = .file(file, log)
            } catch {
                throw .users(error)
            }
        case .ldap: self = .directory(try Directory(auth.ldap, log: log))
        }
    }

    var backend: any AuthenticationBackend {
        switch self {
        case .file(let file, _): file
        case .directory(let directory): directory
        }
    }

    /// Nil when the user isn't known here, or may send as anybody.
    func allowedSenders(of user: String) -> AllowedSenders? {
        switch self {
        case .file(let file, _): file.users.allowedSenders(of: user)
        case .directory: nil
        }
    }

    /// Blocks while it reads.
    func reload() {
        switch self {
        case .file(let file, _): file.reload()
        case .directory(let directory): directory.reload()
        }
    }

    /// Blocks while it reads.
    func reloadIfChanged() {
        switch self {
        case .file(let file, _): file.reloadIfChanged()
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
        private let configuration: Configuration.LDAP
        private let log: Logger
        private let current: Mutex<LDAPDirectory>

        init(_ configuration: Configuration.LDAP, log: Logger) throws(LoginsError) {
            self.configuration = configuration
            self.log = log
            current = Mutex(try Self.open(configuration, log))
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
