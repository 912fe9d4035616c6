import ElemtaAuthentication
import ElemtaConfiguration
import ElemtaSMTP
import Logging

/// Why a directory can't be asked with these settings. Never says what a password is.
struct DirectoryError: Error, CustomStringConvertible {
    enum Cause {
        /// `bind_password_file`.
        case bindPassword(SecretFileError)
        case settings(LDAPSettingsError)
    }

    /// The keys of the configuration that the settings are from: `auth.ldap`.
    let section: String
    let cause: Cause

    var description: String {
        switch cause {
        case .bindPassword(let error): "\(section).bind_password_file: \(error)"
        case .settings(let error): error.description(at: section)
        }
    }
}

/// A directory as the configuration names it. Any thread.
final class Directory: AuthenticationBackend {
    let configuration: Configuration.LDAP
    private let section: String
    private let current: LDAPDirectory

    /// Checks the settings without asking the directory. `section`: the keys that they are from.
    init(
        _ configuration: Configuration.LDAP, at section: String, log: Logger
    ) throws(DirectoryError) {
        self.configuration = configuration
        self.section = section
        current = try Self.open(configuration, section, log)
    }

    /// What is allowed and still looks like a mistake.
    var warnings: [String] {
        var warnings: [String] = []
        if configuration.isReadOnItsWay {
            warnings.append(
                "\(section).url: \(configuration.url): passwords cross the network readable; "
                    + "set \(section).starttls, or use ldaps://")
        }
        if case .file(let path) = configuration.bindPassword, isReadByEverybody(path) {
            warnings.append(
                "\(path): is readable by every user of the system; allowed to fewer: chmod 640")
        }
        return warnings
    }

    func verify(_ credentials: Credentials) -> AuthenticationResult {
        current.verify(credentials)
    }

    /// Blocks.
    func presence(ofAnyOf names: [String]) -> LDAPPresence {
        current.presence(ofAnyOf: names)
    }

    func stop() {
        current.stop()
    }

    private static func open(
        _ configuration: Configuration.LDAP, _ section: String, _ log: Logger
    ) throws(DirectoryError) -> LDAPDirectory {
        let settings: LDAPSettings
        do throws(SecretFileError) {
            settings = try LDAPSettings(configuration)
        } catch {
            throw DirectoryError(section: section, cause: .bindPassword(error))
        }
        do throws(LDAPSettingsError) {
            return try LDAPDirectory(settings) { LoginsLog.write($0, to: log) }
        } catch {
            throw DirectoryError(section: section, cause: .settings(error))
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
