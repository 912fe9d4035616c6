import ElemtaSMTP

extension Configuration.Auth {
    static let entries: [Entry<Self>] = [
        .key("enabled", \.enabled, .boolean, "Offer AUTH."),
        .key("required", \.required, .boolean, "Nobody sends without having authenticated."),
        .key(
            "methods", \.methods, .list(.oneOf(), count: 1...2),
            "The mechanisms offered, in this order."),
        .key("backend", \.backend, .oneOf(), "Who knows the users."),
        .key("file_path", \.filePath, .path, "The users file."),
        .key(
            "require_tls", \.requireTLS, .boolean,
            "AUTH is neither offered nor accepted in clear text."),
        .key(
            "max_failures", \.maxFailures, .integer(1...1_000_000),
            "Failures of one address (IPv6: of one /64) within failure_window, after which AUTH "
                + "answers 454; loopback and allowed_relays are exempt."),
        .key("failure_window", \.failureWindow, .seconds(1...86_400), "Seconds."),
        .section("ldap", \.ldap, Configuration.LDAP.entries),
    ]
}

extension Configuration.LDAP {
    static let entries: [Entry<Self>] = [
        .key(
            "url", \.url,
            .text("a URL that begins with ldap://, ldaps:// or ldapi://") { url in
                ["ldap://", "ldaps://", "ldapi://"].contains { url.hasPrefix($0) }
            }, "The directory server."),
        .key("base_dn", \.baseDN, .text(), "Where the search begins."),
        .key("bind_dn", \.bindDN, .text(), "Who searches; \"\": anonymous."),
        .key(
            "bind_password_file", \.bindPassword, .secretFile,
            "A file with the password of bind_dn."),
        .key(
            "user_filter", \.userFilter,
            .text("a filter with {user} in it") { !$0.ranges(of: "{user}").isEmpty },
            "How a user is found; {user} stands for the name given."),
        .key("starttls", \.starttls, .boolean, "StartTLS on an ldap:// connection."),
        .key(
            "ca_file", \.caFile, .optionalText("a path"),
            "The authorities to trust; \"\": the system's."),
        .key("timeout", \.timeout, .seconds(1...3_600), "Seconds to wait for the directory."),
    ]
}

extension Configuration.TLS {
    static let entries: [Entry<Self>] = [
        .key("enabled", \.enabled, .boolean, "Offer STARTTLS."),
        .key("cert_file", \.certFile, .path, "The certificate and its chain, PEM."),
        .key("key_file", \.keyFile, .path, "The certificate's key, PEM."),
        .key(
            "certificates", \.certificates,
            .list(
                .record(
                    [
                        .key(
                            "cert_file", \.certFile, .path, isRequired: true,
                            "The certificate and its chain, PEM."),
                        .key(
                            "key_file", \.keyFile, .path, isRequired: true,
                            "The certificate's key, PEM."),
                    ], initial: CertificatePair(certFile: "", keyFile: ""))),
            "Further certificates, chosen by the name that the client asks for (SNI)."),
        .key("min_version", \.minVersion, .oneOf(), "The oldest TLS version accepted."),
    ]
}

extension Configuration.Queue {
    static let entries: [Entry<Self>] = [
        .key("max_workers", \.maxWorkers, .integer(1...256), "Delivery threads."),
        .key("max_retries", \.maxRetries, .integer(1...10_000), "Delivery attempts in all."),
        .key(
            "max_queue_time", \.maxQueueTime, .seconds(1...31_536_000),
            "Seconds, then a message bounces."),
        .key(
            "retry_schedule", \.retrySchedule, .list(.seconds(1...31_536_000), count: 1...100),
            "Seconds between attempts; the last repeats."),
        .key(
            "delay_warning", \.delayWarning, .seconds(0...31_536_000),
            "Seconds until a delay report, when NOTIFY asks for it; 0: never."),
        .key(
            "failed_retention", \.failedRetention, .seconds(0...315_360_000),
            "Seconds that failed messages stay to be looked at."),
        .key(
            "min_free", \.minFree, .optionalInteger(0...(1 << 50), "octets"),
            "Octets that stay free on the queue's file system; \"\": the smaller of 64 MiB and "
                + "2 % of it."),
        .key(
            "allow_network_filesystem", \.allowNetworkFilesystem, .boolean,
            "A queue_dir on NFS, CIFS, 9p or FUSE is not an error."),
    ]
}

extension Configuration.Delivery {
    static let entries: [Entry<Self>] = [
        .key(
            "relay_host", \.relayHost,
            .optional("\"host:port\", \"[host]:port\" (no MX look-up), or an IP address") {
                Configuration.NextHop(relayHost: $0)
            }, "The smarthost for what no route takes; \"\": MX."),
        .key("relay_tls", \.relayTLS, .oneOf(), "TLS towards relay_host."),
        .key(
            "relay_username", \.relayUsername, .optionalText("a user name"),
            "Who authenticates to relay_host; \"\": nobody."),
        .key(
            "relay_password_file", \.relayPassword, .secretFile,
            "A file with the password of relay_username."),
        .key(
            "relay_auth_in_clear", \.relayAuthInClear, .boolean,
            "The password may be sent without TLS."),
        .key(
            "routes", \.routes,
            .list(
                .record(
                    Route.entries, initial: Route(domain: .any, deliver: .discard))),
            "Where a domain's mail goes; the first that matches wins, before relay_host and MX."),
        .key(
            "max_connections", \.maxConnections, .integer(1...1_000_000),
            "Outbound connections in all."),
        .key(
            "max_connections_per_destination", \.maxConnectionsPerDestination,
            .integer(1...100_000), "The ceiling of a window that starts at 5."),
        .key(
            "idle_connection", \.idleConnection, .seconds(0...3_600),
            "Seconds that a kept connection waits for more mail."),
        .key(
            "messages_per_connection", \.messagesPerConnection, .integer(1...1_000_000),
            "Messages after which a connection is closed."),
        .key(
            "rate", \.rate,
            .list(
                .record(
                    DestinationRate.entries,
                    initial: DestinationRate(
                        domain: .any, limit: Configuration.Rate(count: 1, seconds: 1)))),
            "How many messages a domain is sent."),
        .key(
            "helo_name", \.heloName,
            .optional("an ASCII domain name", parse: asciiDomain),
            "The name in EHLO; \"\": hostname."
        ),
        .key(
            "bind", \.bind, .list(.described("an IP address") { IPAddress($0) }),
            "Source addresses, IPv4 and IPv6."),
        .key(
            "connect_timeout", \.connectTimeout, .seconds(1...3_600),
            "Seconds to wait for a connection."),
        .key(
            "dns_servers", \.dnsServers,
            .list(
                .described("\"127.0.0.1\", \"127.0.0.1:5353\", \"::1\" or \"[::1]:5353\"") {
                    Configuration.ServerAddress($0, defaultPort: 53)
                }), "DNS servers; empty: the system's."),
    ]
}

extension Configuration.Delivery.Route {
    fileprivate static let entries: [Entry<Self>] = [
        .key(
            "domain", \.domain, .domainPattern, isRequired: true,
            "The domain; \".example.com\" is every subdomain, \"*\" every domain."),
        .key(
            "deliver", \.deliver,
            .described(
                "smtp://host:port, lmtp://host:port, lmtp+unix:///path, "
                    + "maildir:///path/{domain}/{local}, mx, discard"
            ) { Configuration.DeliveryMethod($0) }, isRequired: true, "Where it goes."),
        .key("tls", \.tls, .oneOf(), "TLS towards the route's server."),
    ]
}

extension Configuration.Delivery.DestinationRate {
    fileprivate static let entries: [Entry<Self>] = [
        .key("domain", \.domain, .domainPattern, isRequired: true, "The recipients' domain."),
        .key(
            "limit", \.limit,
            .described(ValueType<Configuration.Rate>.rateForm) {
                Configuration.Rate($0)
            }, isRequired: true, "Messages in so many seconds."),
    ]
}

extension Configuration.Limits {
    static let entries: [Entry<Self>] = [
        .key(
            "max_connections", \.maxConnections, .integer(0...10_000_000),
            "Sessions in all; 0: what the descriptor limit allows."),
        .key(
            "max_connections_per_ip", \.maxConnectionsPerIP, .integer(0...10_000_000),
            "Sessions of one address, never applied to allowed_relays; 0: the larger of 50 and "
                + "5 % of max_connections."),
        .key(
            "messages_per_connection", \.messagesPerConnection, .integer(0...1_000_000_000),
            "Messages in a session; 0: no limit."),
        .key(
            "rate_per_ip", \.ratePerIP,
            .optional(ValueType<Configuration.Rate>.rateForm) { Configuration.Rate($0) },
            "Messages of one address, then 450 at MAIL; \"\": off."),
        .key(
            "max_recipients", \.maxRecipients, .integer(1...1_000_000),
            "Recipients of a message; RFC 5321 asks for 100 at least."),
        .key(
            "max_errors", \.maxErrors, .integer(1...1_000_000),
            "Errors in a session, then 421; an accepted message sets the count back to 0."),
        .key(
            "greet_delay", \.greetDelay, .seconds(0...300),
            "Seconds before the greeting; a client that talks first is refused."),
        .key("xclient_hosts", \.xclientHosts, .list(.subnet), "Clients that may use XCLIENT."),
        .key(
            "bare_newline", \.bareNewline, .oneOf(),
            "A line feed without a carriage return is refused or made CRLF."),
        .key(
            "bare_newline_exempt", \.bareNewlineExempt, .list(.subnet),
            "Clients for which normalize holds."),
        .key(
            "command_timeout", \.commandTimeout, .seconds(1...86_400),
            "Seconds since the last complete command."),
        .key(
            "data_timeout", \.dataTimeout, .seconds(1...86_400),
            "Seconds without progress in mail data."),
        .key(
            "transaction_timeout", \.transactionTimeout, .seconds(1...604_800),
            "Seconds from MAIL to the end of data."),
        .key(
            "session_timeout", \.sessionTimeout, .seconds(1...31_536_000),
            "Seconds that a session may last; a transaction that runs then may end."),
        .key(
            "shutdown_timeout", \.shutdownTimeout, .seconds(0...3_600),
            "Seconds that running transactions get at SIGTERM."),
        .key(
            "memory", \.memory, .integer(1_048_576...(1 << 46), "octets"),
            "Octets of content, envelopes, partial lines and unsent replies of all sessions; "
                + "beyond it 452."),
        .key(
            "spill_threshold", \.spillThreshold, .integer(0...(1 << 30), "octets"),
            "Octets of content that wait in memory; beyond it they go to a file."),
    ]
}
