import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads
import Glibc
import Logging

/// SIGHUP: everything is read again, on a thread of its own, and then holds at once or not at all.
extension Server {
    /// How far the reading has come.
    enum Reloading {
        case none
        case reading(NamedThread)
        /// Another SIGHUP came meanwhile: what was read may be old.
        case readingAgain(NamedThread)
    }

    func reload() {
        // Whatever the configuration says now: logrotate has moved the file.
        logWriter.reopen()
        guard case .serving = phase, let pipe else { return PendingSignals.wantReload() }
        switch reloading {
        case .none: break
        case .reading(let thread), .readingAgain(let thread):
            reloading = .readingAgain(thread)
            return
        }
        manager.reloading()
        do throws(ThreadError) {
            reloading = .reading(
                try NamedThread("elemta-reload") {
                    [reader, configuration, log, keys = certificates?.ticketKeys] in
                    pipe.post(
                        .reread(
                            NewSettings.read(
                                reader, after: configuration, ticketKeys: keys, log: log)))
                })
        } catch {
            refuse(["\(error)"])
        }
    }

    /// SIGHUP came while it could not be heeded.
    func reloadIfWanted() {
        if PendingSignals.takeReload() { reload() }
    }

    func reread(_ result: NewSettings.Result) {
        let isOld: Bool
        switch reloading {
        case .none: return
        case .reading(let thread):
            thread.join()
            isOld = false
        case .readingAgain(let thread):
            thread.join()
            isOld = true
        }
        reloading = .none
        guard case .serving = phase else {
            PendingSignals.wantReload()
            // Not after STOPPING=1.
            if !bound.smtp.isEmpty { manager.ready("making room for another server") }
            return
        }
        if isOld { return reload() }
        switch result {
        case .refused(let problems): refuse(problems)
        case .found(let settings):
            do {
                try adopt(settings)
            } catch {
                refuse(["\(error)"])
            }
        }
    }

    func endReloading() {
        switch reloading {
        case .none: break
        case .reading(let thread), .readingAgain(let thread):
            thread.join()
            PendingSignals.wantReload()
        }
        reloading = .none
    }

    private func refuse(_ problems: [String]) {
        for problem in problems {
            var fields: LogFields = [.error: "\(problem)"]
            // Root could read it at the start.
            if let user = configuration.user { fields[.readBy] = "\(user)" }
            log.write(.configurationRefused, fields)
        }
        manager.ready("configuration refused, the former one holds")
    }

    // MARK: Taking over

    /// First what can fail, then the rest: nothing has changed when this throws.
    private func adopt(_ settings: NewSettings) throws {
        let configuration = settings.configuration
        let bound: [BoundListener]
        do throws(BindError) {
            bound = try BoundListener.rebind(configuration, former: self.bound.smtp)
        } catch {
            throw error.isDenied && configuration.user != nil
                ? RootIsGone(error: error) : error
        }
        var recipients = self.recipients
        var logins = self.logins
        do {
            recipients = try preparedRecipients(for: settings)
            logins = try preparedLogins(for: settings)
            try messages.change(
                configuration, settings.delivery,
                isRouting: configuration.routesDiffer(from: self.configuration))
        } catch {
            if self.logins == nil { logins?.stop() }
            if self.recipients == nil { recipients?.stop() }
            throw error
        }
        self.recipients?.change(to: settings.recipients, delivery: settings.delivery)
        self.recipients = recipients
        if let users = settings.users, let current = self.logins {
            current.change(to: users, configuration.auth, after: self.configuration.auth)
        }
        self.logins = logins
        certificates = settings.certificates.map { Certificates($0, log: log) }
        certificates?.tellOfAll()
        adopt(configuration, settings)
        self.bound.smtp = bound
        listeners = listen(on: bound)
        for warning in settings.warnings {
            log.write(.configurationWarning, [.warning: "\(warning)"])
        }
        warnOfOpenSecrets()
        log.write(
            .configurationReloaded, [.keys: "\(settings.changes.joined(separator: ","))"])
        if !settings.restartNeeded.isEmpty {
            log.write(
                .restartNeeded, [.keys: "\(settings.restartNeeded.joined(separator: ","))"])
        }
        manager.ready("listening on \(ReadyLine.addresses(of: self))")
    }

    /// Once there they stay: sessions that were offered AUTH may still use it.
    private func preparedLogins(for settings: NewSettings) throws -> Logins? {
        guard logins == nil, let users = settings.users, let pipe else { return logins }
        let logins = Logins(settings.configuration.auth, users, log: log)
        try logins.start { session, result in pipe.post(.verified(session, result)) }
        return logins
    }

    private func preparedRecipients(for settings: NewSettings) throws -> RecipientLookups? {
        if let recipients {
            try recipients.prepare(for: settings.recipients, delivery: settings.delivery)
            return recipients
        }
        guard !settings.recipients.rules.isEmpty, let pipe else { return nil }
        let lookups = RecipientLookups(settings.recipients, log: log)
        try lookups.start(delivery: settings.delivery) { session, answer in
            pipe.post(.answered(session, answer))
        }
        return lookups
    }

    private func adopt(_ configuration: Configuration, _ settings: NewSettings) {
        let former = self.configuration
        self.configuration = configuration
        relays = settings.relays
        policy = settings.policy
        token = settings.token
        timeouts = SessionTimeouts(configuration.limits)
        postmaster = configuration.reachablePostmaster
        limits.change(to: ConnectionLimits(configuration, isMonitored: !bound.http.isEmpty))
        if configuration.limits.maxConnections != former.limits.maxConnections
            || configuration.delivery.maxConnections != former.delivery.maxConnections
        {
            warnOfFewDescriptors()
        }
        budget.limit = configuration.limits.memory
        if configuration.limits.ratePerIP != former.limits.ratePerIP {
            rates = configuration.limits.ratePerIP.map(MessageRates.init)
        }
        control?.change(messages.rules)
        logWriter.level = configuration.logging.swiftLogLevel
        logWriter.change(
            file: configuration.logging.file ?? "", form: LogLine.Form(configuration.logging.format)
        )
    }
}

/// A port can't be bound any more by who has given up root's rights.
private struct RootIsGone: Error, CustomStringConvertible {
    let error: BindError

    var description: String {
        "\(error); this server was root when it started: a restart binds it"
    }
}

extension Configuration {
    /// Whether mail may go elsewhere than by `former`. A rate is of a domain, which then is a
    /// destination of its own.
    fileprivate func routesDiffer(from former: Configuration) -> Bool {
        hostname != former.hostname || delivery.routes != former.delivery.routes
            || delivery.rate != former.delivery.rate
            || delivery.relayHost != former.delivery.relayHost
            || delivery.relayTLS != former.delivery.relayTLS
            || delivery.relayUsername != former.delivery.relayUsername
            || delivery.relayPassword != former.delivery.relayPassword
            || delivery.relayAuthInClear != former.delivery.relayAuthInClear
    }

    /// Who gets mail for `<Postmaster>`.
    var reachablePostmaster: Mailbox? {
        postmaster ?? Mailbox(localPart: "postmaster".utf8, domain: hostname)
    }
}

extension ConnectionLimits {
    /// With as many descriptors as the process may have.
    init(_ configuration: Configuration, isMonitored: Bool) {
        self.init(
            maximum: configuration.limits.maxConnections,
            perAddress: configuration.limits.maxConnectionsPerIP,
            outbound: Self.outbound(configuration, isMonitored: isMonitored),
            descriptors: DescriptorLimit.raise().soft)
    }

    /// Descriptors that what the configuration allows needs.
    static func descriptors(_ configuration: Configuration, isMonitored: Bool) -> Int {
        descriptors(
            maximum: configuration.limits.maxConnections,
            outbound: outbound(configuration, isMonitored: isMonitored))
    }

    private static func outbound(_ configuration: Configuration, isMonitored: Bool) -> Int {
        configuration.delivery.maxConnections + (isMonitored ? Server.monitoringConnections : 0)
    }
}
