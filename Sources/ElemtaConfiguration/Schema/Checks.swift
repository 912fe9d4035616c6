import ElemtaSMTP

extension Configuration {
    /// What no single key can say: contradictions between keys, and settings that would do nothing.
    mutating func check(_ findings: inout Findings) {
        settleListeners(&findings)
        checkListeners(&findings)
        checkLocalDomains(&findings)
        checkRecipients(&findings)
        checkAuthentication(&findings)
        checkRelay(&findings)
        checkRoutes(&findings)
        checkSourceAddresses(&findings)
        if limits.memory <= limits.spillThreshold {
            findings.refuse(
                "limits.memory",
                "found \(limits.memory); allowed: more than limits.spill_threshold, which is "
                    + "\(limits.spillThreshold)")
        }
    }

    /// Makes one list of `listen_addr`, `listeners` and the default of both.
    private mutating func settleListeners(_ findings: inout Findings) {
        let hasListeners = findings.origins["listeners"] != nil
        if hasListeners, let origin = findings.origins["listen_addr"] {
            findings.refuse(
                "listen_addr", at: origin,
                "listeners is given too, at \(findings.origin(of: "listeners")); allowed: one of them"
            )
        }
        if !hasListeners {
            listeners = [Listener(address: listenAddr ?? ListenAddress(port: 2525))]
        } else if listeners.isEmpty, !findings.hasProblem(around: "listeners") {
            findings.refuse("listeners", "found no entry; allowed: at least one, or no such key")
        }
        listenAddr = nil
    }

    private func checkListeners(_ findings: inout Findings) {
        var places: [ListenAddress: Int] = [:]
        for (index, listener) in listeners.enumerated() {
            let path = "listeners[\(index)]"
            if listener.address.port != 0,
                let first = places.updateValue(index, forKey: listener.address)
            {
                findings.refuse(
                    "\(path).address", "\(listener.address) is listeners[\(first)] already")
            }
            if listener.proxyProtocol, listener.trustedProxies.isEmpty {
                findings.refuse(
                    "\(path).trusted_proxies",
                    "found none; allowed: at least one, since proxy_protocol is true")
            }
            if listener.authRequired, !auth.enabled {
                findings.refuse("\(path).auth_required", "needs auth.enabled: true")
            }
            if listener.tls == .implicit, !tls.enabled {
                findings.refuse("\(path).tls", "implicit needs tls.enabled: true")
            }
            if listener.tls == .off, tls.enabled, auth.requireTLS,
                listener.authRequired || auth.required
            {
                findings.refuse(
                    "\(path).tls",
                    "off where a login is required and auth.require_tls allows none; allowed: "
                        + "starttls, implicit")
            }
        }
    }

    /// A relay host doesn't count: mail for our own domains sent there would come back.
    private func checkLocalDomains(_ findings: inout Findings) {
        // Routes that could not be read have been refused: nobody knows what they would match.
        guard !findings.hasProblem(around: "delivery.routes") else { return }
        let routes = PatternIndex(delivery.routes.lazy.map(\.domain))
        for (index, domain) in localDomains.enumerated() where routes.coverer(of: domain) == nil {
            findings.refuse(
                "local_domains[\(index)]",
                "found \"\(domain)\" without a route; allowed: a domain that an entry of "
                    + "delivery.routes matches")
        }
    }

    private func checkRecipients(_ findings: inout Findings) {
        var seen: [DomainPattern: Int] = [:]
        let local = PatternIndex(localDomains)
        for (index, lookup) in recipients.enumerated() {
            let path = "recipients[\(index)].domain"
            if let first = seen.updateValue(index, forKey: lookup.domain) {
                findings.refuse(path, "\"\(lookup.domain)\" is recipients[\(first)] already")
            }
            if local.coverer(of: lookup.domain) == nil {
                findings.warn(path, "\"\(lookup.domain)\" is not in local_domains: never used")
            }
        }
    }

    private func checkAuthentication(_ findings: inout Findings) {
        if auth.required, !auth.enabled {
            findings.refuse("auth.required", "needs auth.enabled: true")
        }
        if auth.enabled, auth.requireTLS, !tls.enabled {
            findings.refuse("auth.require_tls", "needs tls.enabled: true, or AUTH is never offered")
        }
        if Set(auth.methods).count < auth.methods.count {
            findings.refuse("auth.methods", "found a method twice; allowed: each once")
        }
        checkDirectory(auth.ldap, "auth.ldap", &findings)
        for (index, lookup) in recipients.enumerated() {
            if case .ldap(let directory) = lookup.source {
                checkDirectory(directory, "recipients[\(index)].ldap", &findings)
            }
        }
    }

    private func checkDirectory(_ ldap: LDAP, _ path: String, _ findings: inout Findings) {
        if ldap.starttls, !ldap.url.hasPrefix("ldap://") {
            findings.refuse("\(path).starttls", "true needs a url that begins with ldap://")
        }
        if ldap.bindDN.isEmpty, ldap.bindPassword != .none {
            findings.refuse("\(path).bind_password_file", "needs bind_dn")
        }
    }

    private func checkRelay(_ findings: inout Findings) {
        switch (delivery.relayUsername, delivery.relayPassword) {
        case (nil, .none):
            return
        case (nil, .file), (nil, .given):
            findings.refuse("delivery.relay_password_file", "needs relay_username")
        case (.some, .none):
            findings.refuse("delivery.relay_username", "needs relay_password_file")
        case (.some, .file), (.some, .given):
            if delivery.relayHost == nil {
                findings.refuse("delivery.relay_username", "needs relay_host")
            }
            if delivery.relayTLS == .off, !delivery.relayAuthInClear {
                findings.refuse(
                    "delivery.relay_tls",
                    "off with relay_username; allowed: opportunistic, required, or "
                        + "relay_auth_in_clear: true")
            }
        }
    }

    /// Each connection takes the first address of its family.
    private func checkSourceAddresses(_ findings: inout Findings) {
        for (index, address) in delivery.bind.enumerated() {
            let first = delivery.bind.firstIndex { $0.isV4 == address.isV4 } ?? index
            guard first < index else { continue }
            findings.warn(
                "delivery.bind[\(index)]",
                "\(address) is never used: delivery.bind[\(first)] is of the same family")
        }
    }

    private func checkRoutes(_ findings: inout Findings) {
        var earlier = PatternIndex()
        for (index, route) in delivery.routes.enumerated() {
            if let first = earlier.coverer(of: route.domain) {
                findings.warn(
                    "delivery.routes[\(index)].domain",
                    "\"\(route.domain)\" is never reached: delivery.routes[\(first)] takes it")
            }
            earlier.add(route.domain, index)
        }
    }
}

/// Which of many patterns covers another one, in a time that doesn't depend on how many there are.
private struct PatternIndex {
    private var indices: [Configuration.DomainPattern: Int] = [:]

    init(_ patterns: some Sequence<Configuration.DomainPattern> = []) {
        for (index, pattern) in patterns.enumerated() { add(pattern, index) }
    }

    /// The first one added stays.
    mutating func add(_ pattern: Configuration.DomainPattern, _ index: Int) {
        if indices[pattern] == nil { indices[pattern] = index }
    }

    /// The index of a pattern that matches everything that `pattern` matches.
    func coverer(of pattern: Configuration.DomainPattern) -> Int? {
        if let index = indices[pattern] ?? indices[.any] { return index }
        switch pattern {
        case .any: return nil
        case .exact(let domain), .subdomains(let domain): return coverer(above: domain)
        }
    }

    /// Looks for `.parent` of every parent; a domain has at most 127 (RFC 1035 2.3.4).
    private func coverer(above domain: Domain) -> Int? {
        guard domain.addressLiteral == nil else { return nil }
        var rest = domain.octets[...]
        while let dot = rest.firstIndex(of: UInt8(ascii: ".")) {
            rest = rest[(dot + 1)...]
            guard let parent = Domain(String(decoding: rest, as: UTF8.self)) else { return nil }
            if let index = indices[.subdomains(of: parent)] { return index }
        }
        return nil
    }
}
