import ArgumentParser
import ElemtaConfiguration
import ElemtaDelivery
import ElemtaReactor
import Glibc
import Logging

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Validate the configuration and print what would run.",
        discussion: """
            Reads the configuration with all files that it names, the certificates and the users \
            among them, and starts nothing. Prints every error, not only the first.

            Exit status: 0 the server would start with it, 64 the command line is wrong, 78 there \
            is an error.
            """)

    @OptionGroup var options: ConfigurationOptions

    func run() throws {
        let loaded = try options.load()
        let configuration = loaded.configuration
        let relays = HostNetworks.Relays(configuration)
        print("configuration  \(loaded.source)")
        print("hostname       \(configuration.hostname)")
        for listener in configuration.listeners { print("listen         \(listener.address)") }
        if let address = configuration.http.listenAddr { print("http           \(address)") }
        let areRight = [
            checkCertificates(configuration.tls), checkLogins(configuration.auth),
            checkDelivery(configuration), checkRecipients(configuration, relays),
            checkMonitoring(configuration.http), checkUser(configuration),
        ]
        print("queue          \(configuration.queueDir)")
        let domains = configuration.localDomains.map(\.description).joined(separator: ", ")
        print("local domains  \(domains.isEmpty ? "none" : domains)")
        print("may relay      \(relays.description.isEmpty ? "nobody" : relays.description)")
        printDelivery(configuration)
        guard !areRight.contains(false) else { throw ExitStatus.configuration.code }
        print("ok")
    }

    private func printDelivery(_ configuration: Configuration) {
        guard !configuration.devMode else {
            print("delivery       none: dev mode keeps messages in memory")
            return
        }
        for route in configuration.delivery.routes {
            print("route          \(route.domain) -> \(route.deliver)")
        }
        let fallback = configuration.delivery.relayHost.map { "relay host \($0)" } ?? "mx"
        print("everything else -> \(fallback)")
    }

    /// Reads the token as the server does; false when it is of no use.
    private func checkMonitoring(_ http: Configuration.HTTP) -> Bool {
        if let warning = http.warning { complain("warning: \(warning)") }
        do throws(AccessTokenError) {
            _ = try AccessToken(http.token)
            return true
        } catch {
            complain("\(error)")
            return false
        }
    }

    /// Loads them as the server does; false when one is wrong.
    private func checkCertificates(_ tls: Configuration.TLS) -> Bool {
        guard tls.enabled else { return true }
        let certificates: [TLSServerCertificate]
        do throws(CertificatesError) {
            certificates = try Certificates(tls, log: .silent).certificates
        } catch {
            for cause in error.causes { complain("\(cause)") }
            return false
        }
        for certificate in certificates {
            let file = certificate.files.certificateFile
            print("certificate    \(file), valid until \(certificate.lastSecond)")
            switch certificate.validity(at: Int64(time(nil))) {
            case .valid: break
            case .expired: complain("warning: \(file) has expired")
            case .notYetValid(let time): complain("warning: \(file) is not valid until \(time)")
            }
        }
        return true
    }

    /// Reads the users, or the directory's settings, as the server does; false when they are wrong.
    /// The directory itself isn't asked.
    private func checkLogins(_ auth: Configuration.Auth) -> Bool {
        guard auth.enabled else { return true }
        let source: LoginsSource
        do throws(LoginsError) {
            source = try LoginsSource(auth, log: .silent)
        } catch {
            for problem in error.problems { complain(problem) }
            return false
        }
        print("users          \(source.summary)")
        for warning in source.warnings { complain("warning: \(warning)") }
        return true
    }

    /// Looks for the user that the server is to become; false when nobody has the name. Only root
    /// becomes somebody else: who else checks a configuration may not be who starts the server.
    private func checkUser(_ configuration: Configuration) -> Bool {
        do throws(Account.Failure) {
            if let account = try Account(configuration.user) {
                warnOfUnreadableFiles(configuration, by: account)
            }
            return true
        } catch {
            guard case .notRoot = error else {
                complain("\(error)")
                return false
            }
            complain("warning: \(error)")
            return true
        }
    }

    /// What root can read and the user whom root's server becomes can't: it reads these again when they
    /// change.
    private func warnOfUnreadableFiles(_ configuration: Configuration, by account: Account) {
        var paths: [String] = []
        if configuration.tls.enabled {
            paths += configuration.tls.pairs.flatMap { [$0.certificateFile, $0.keyFile] }
        }
        let auth = configuration.auth
        if auth.enabled, auth.backend == .file { paths.append(auth.filePath) }
        if case .file(let path) = configuration.http.token { paths.append(path) }
        for path in paths where !account.canRead(path) {
            complain("warning: \(path): the user \(account.name) can't read it")
        }
        if let problem = account.problemOfRotation(configuration) {
            complain("warning: \(problem)")
        }
    }

    /// Reads the address files, and the settings of directories, as the server does; false when they
    /// are wrong. Nobody is asked.
    private func checkRecipients(
        _ configuration: Configuration, _ relays: HostNetworks.Relays
    ) -> Bool {
        guard !configuration.recipients.isEmpty else { return true }
        let policy = RelayPolicy(localDomains: configuration.localDomains, relays: relays)
        let rules: RecipientRules
        do throws(RecipientsError) {
            rules = try RecipientRules(configuration, policy: policy, log: .silent)
        } catch {
            for problem in error.problems { complain(problem) }
            return false
        }
        for rule in rules.rules { print("recipients     \(rule.domain): \(rule.summary)") }
        for complaint in rules.complaints { complain("warning: \(complaint)") }
        return true
    }

    /// Reads the relay host's password as the server does; false when there is none to be had. A
    /// maildir or socket that isn't there may be in time: mail waits for it.
    private func checkDelivery(_ configuration: Configuration) -> Bool {
        guard !configuration.devMode else { return true }
        do throws(RelayLoginError) {
            let settings = try DeliverySettings(configuration)
            for (index, route) in settings.routes.enumerated() {
                if let obstacle = route.obstacle {
                    complain("warning: delivery.routes[\(index)].deliver: \(obstacle)")
                }
            }
            return true
        } catch {
            complain("\(error)")
            return false
        }
    }
}

extension Logger {
    /// What the server would log goes to nobody.
    static var silent: Logger { Logger(label: "elemta") { _ in SwiftLogNoOpLogHandler() } }
}
