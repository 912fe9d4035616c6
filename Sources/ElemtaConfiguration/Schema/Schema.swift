import ElemtaSMTP

// The one table of all keys: it decodes, holds the ranges, finds unknown keys, names the
// environment variables and is what documentation is made of. Defaults are the initial values of
// the properties named here.

extension Configuration {
    static let entries: [Entry<Configuration>] = [
        .key(
            "hostname", \.hostname, .asciiDomain, default: "the system's host name",
            "The server's name in its greeting, in Received fields and in reports."),
        .key(
            "listen_addr", \.listenAddr, .listenAddress, default: "\":2525\"",
            "Where clients are received; \":2525\" is every address, IPv4 and IPv6."),
        .key(
            "listeners", \.listeners, .list(.record(Listener.entries, initial: .unset)),
            "Several places where clients are received, each with its own rules; instead of "
                + "listen_addr."),
        .key(
            "user", \.user, .optionalText("a user name"),
            "Started as root, the server gives queue_dir and the log to this user after binding "
                + "and drops its privileges."),
        .key("queue_dir", \.queueDir, .path, "The directory of the queue."),
        .key(
            "max_message_size", alias: "max_size", \.maxMessageSize,
            .integer(1...(1 << 40), "octets"), "The largest message accepted, in octets."),
        .key(
            "dev_mode", \.devMode, .boolean,
            "Messages are shown to the developer and neither queued nor sent."),
        .key(
            "local_domains", \.localDomains, .list(.localDomain),
            "Domains for which anyone may send; each needs a route. \".example.com\" is every "
                + "subdomain of example.com."),
        .key(
            "postmaster", \.postmaster, .optional("an address") { Mailbox($0) },
            "Where <Postmaster> without a domain goes; \"\": postmaster at hostname."),
        .key(
            "recipients", \.recipients,
            .list(
                .record(RecipientDraft.entries, initial: RecipientDraft()) { $0.lookup($1, &$2) }),
            "Who exists in a local domain; a domain without an entry accepts every local part."),
        .key(
            "allowed_relays", \.allowedRelays, .optionalList(.subnet),
            default: "127.0.0.1, ::1 and the Docker networks",
            "Clients that may send anywhere."),
        .section("auth", \.auth, Auth.entries),
        .section("tls", \.tls, TLS.entries),
        .section("queue", \.queue, Queue.entries),
        .section("delivery", \.delivery, Delivery.entries),
        .section("limits", \.limits, Limits.entries),
        .section("logging", \.logging, Logging.entries),
        .section("http", \.http, HTTP.entries),
    ]

    /// The paths of the keys that have another value than in `former`, in the order of the file; a
    /// list is one key. What the files hold that keys name isn't looked at.
    public func changes(since former: Configuration) -> [String] {
        Self.entries.flatMap { $0.differences("", former, self) }
    }

    /// Every key with its type, default and meaning, in the order of the file.
    public static var keys: [KeyDescription] {
        guard let name = Domain("localhost") else { return [] }
        let defaults = Configuration(hostname: name)
        return entries.flatMap { $0.describe("", defaults) }
    }
}

extension Configuration.Listener {
    /// What stands in for an entry until its address has been read.
    fileprivate static var unset: Self { Self(address: .init(port: 0)) }

    fileprivate static let entries: [Entry<Self>] = [
        .key(
            "address", \.address,
            .described(ValueType<Configuration.ListenAddress>.listenAddressForms) {
                Configuration.ListenAddress($0)
            }, isRequired: true, "The address and port to bind."),
        .key("auth_required", \.authRequired, .boolean, "Only authenticated clients may send."),
        .key(
            "submission", \.submission, .boolean,
            "A missing Date and Message-ID are added (RFC 6409)."),
        .key(
            "tls", \.tls, .oneOf(),
            "Whether TLS begins at once, after STARTTLS, or never."),
        .key(
            "proxy_protocol", \.proxyProtocol, .boolean,
            "The PROXY protocol, v1 or v2, comes first; only from trusted_proxies."),
        .key(
            "trusted_proxies", \.trustedProxies, .list(.subnet),
            "The proxies to believe; needed with proxy_protocol."),
    ]
}

/// An entry of `recipients` as it is read: one of the three ways must be given.
private struct RecipientDraft: Sendable {
    var domain = Configuration.DomainPattern.any
    var file: String?
    var ldap: Configuration.LDAP?
    var callout = false

    static let entries: [Entry<Self>] = [
        .key("domain", \.domain, .localDomain, isRequired: true, "The local domain."),
        .key(
            "file", \.file, .optionalText("a path"),
            "A file with an address a line, or alias: target, target."),
        .key(
            "ldap", \.ldap,
            .record(Configuration.LDAP.entries, initial: Configuration.LDAP()) { ldap, _, _ in
                .some(ldap)
            }, default: "none", "A directory; the keys are those of auth.ldap."),
        .key("callout", \.callout, .boolean, "Ask the domain's route."),
    ]

    func lookup(
        _ path: String, _ findings: inout Findings
    ) -> Configuration.RecipientLookup? {
        switch (file, ldap, callout) {
        case (let file?, nil, false): return .init(domain: domain, source: .file(file))
        case (nil, let ldap?, false): return .init(domain: domain, source: .ldap(ldap))
        case (nil, nil, true): return .init(domain: domain, source: .callout)
        default:
            findings.refuse(path, "needs one of file, ldap and callout, and no more than one")
            return nil
        }
    }
}

extension Configuration.Logging {
    fileprivate static let entries: [Entry<Self>] = [
        .key("level", \.level, .oneOf(), "The least important lines that are written."),
        .key("format", \.format, .oneOf(), "Lines for people or for programs."),
        .key(
            "file", \.file, .optionalText("a path"),
            "A file besides standard output; reopened at SIGHUP."),
    ]
}

extension Configuration.HTTP {
    fileprivate static let entries: [Entry<Self>] = [
        .key(
            "listen_addr", \.listenAddr, .optionalListenAddress,
            "Where /metrics, /healthz and /readyz are served; \"\": nowhere."),
        .key(
            "token_file", \.token, .secretFile,
            "A file with the bearer token that a client must show."),
    ]
}
