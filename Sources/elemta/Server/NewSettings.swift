import ElemtaConfiguration
import ElemtaDelivery
import ElemtaReactor
import ElemtaSMTP
import Glibc
import Logging

/// What SIGHUP has found: a configuration with everything that is read for it, none of it in force.
struct NewSettings: Sendable {
    /// With the former values of what can't change in a running server.
    let configuration: Configuration
    /// The keys that are others now, those that wait for a restart included.
    let changes: [String]
    /// Those that wait for a restart.
    let restartNeeded: [String]
    let warnings: [String]
    let relays: HostNetworks.Relays
    let policy: RelayPolicy
    /// Nil without `tls.enabled`.
    let certificates: Certificates.Loaded?
    /// Nil without `auth.enabled`.
    let users: LoginsSource?
    let recipients: RecipientRules
    /// Nil in dev mode.
    let delivery: DeliverySettings?
    let token: AccessToken?

    /// How the configuration is read again: from where it was, with what overrides it.
    typealias Reader = @Sendable () throws(ConfigurationErrors) -> LoadedConfiguration

    enum Result: Sendable {
        case found(NewSettings)
        /// Everything that is wrong; never empty.
        case refused([String])
    }

    /// Reads the configuration, and everything that it names, again. Blocks.
    ///
    /// - Parameter ticketKeys: of the certificates in use; nil: there are none.
    static func read(
        _ reader: Reader, after former: Configuration, ticketKeys: TLSTicketKeys?, log: Logger
    ) -> Result {
        let loaded: LoadedConfiguration
        do throws(ConfigurationErrors) {
            loaded = try reader()
        } catch {
            return .refused(error.problems.map(\.description))
        }
        var reading = Reading(log: log, ticketKeys: ticketKeys ?? TLSTicketKeys())
        guard let settings = reading.settings(loaded, after: former) else {
            return .refused(reading.problems)
        }
        return .found(settings)
    }

    /// Gathers what is wrong, all of it.
    private struct Reading {
        let log: Logger
        let ticketKeys: TLSTicketKeys
        var problems: [String] = []

        mutating func settings(
            _ loaded: LoadedConfiguration, after former: Configuration
        ) -> NewSettings? {
            let configuration = loaded.configuration.keeping(fixedKeysOf: former)
            let relays = HostNetworks.Relays(configuration)
            let policy = RelayPolicy(localDomains: configuration.localDomains, relays: relays)
            let certificates = certificates(configuration.tls)
            checkLogFile(of: configuration, former)
            let users = users(configuration.auth)
            let delivery = delivery(configuration)
            let recipients = recipients(configuration, policy)
            let token = token(configuration.http)
            guard problems.isEmpty, let recipients else { return nil }
            return NewSettings(
                configuration: configuration,
                changes: loaded.configuration.changes(since: former),
                restartNeeded: loaded.configuration.changes(since: configuration),
                warnings: loaded.warnings.map(\.description), relays: relays, policy: policy,
                certificates: certificates, users: users, recipients: recipients,
                delivery: delivery,
                token: token)
        }

        private mutating func certificates(_ tls: Configuration.TLS) -> Certificates.Loaded? {
            guard tls.enabled else { return nil }
            do throws(CertificatesError) {
                return try Certificates.Loaded(tls, ticketKeys: ticketKeys)
            } catch {
                problems += error.causes.map(\.description)
                return nil
            }
        }

        private mutating func checkLogFile(
            of configuration: Configuration, _ former: Configuration
        ) {
            guard let file = configuration.logging.file, file != former.logging.file else { return }
            do throws(LogFileError) {
                try LogWriter.check(file: file)
            } catch {
                problems.append("\(error)")
            }
        }

        private mutating func users(_ auth: Configuration.Auth) -> LoginsSource? {
            guard auth.enabled else { return nil }
            do throws(LoginsError) {
                return try LoginsSource(auth, log: log)
            } catch {
                problems += error.problems
                return nil
            }
        }

        private mutating func delivery(_ configuration: Configuration) -> DeliverySettings? {
            guard !configuration.devMode else { return nil }
            do throws(RelayLoginError) {
                return try DeliverySettings(configuration)
            } catch {
                problems.append("\(error)")
                return nil
            }
        }

        private mutating func token(_ http: Configuration.HTTP) -> AccessToken? {
            do throws(AccessTokenError) {
                return try AccessToken(http.token)
            } catch {
                problems.append("\(error)")
                return nil
            }
        }

        private mutating func recipients(
            _ configuration: Configuration, _ policy: RelayPolicy
        ) -> RecipientRules? {
            do throws(RecipientsError) {
                return try RecipientRules(configuration, policy: policy, log: log)
            } catch {
                problems += error.problems
                return nil
            }
        }
    }
}

extension Configuration {
    /// What a running server can't change is as it was: who it is, where its queue is, how many
    /// threads it has, and what was opened at its start.
    fileprivate func keeping(fixedKeysOf former: Configuration) -> Configuration {
        var configuration = self
        configuration.user = former.user
        configuration.queueDir = former.queueDir
        configuration.devMode = former.devMode
        configuration.queue.maxWorkers = former.queue.maxWorkers
        configuration.queue.allowNetworkFilesystem = former.queue.allowNetworkFilesystem
        configuration.delivery.dnsServers = former.delivery.dnsServers
        configuration.http.listenAddr = former.http.listenAddr
        return configuration
    }
}
