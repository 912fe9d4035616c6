import ElemtaSMTP
import Testing

@testable import ElemtaConfiguration

/// For every key that a variable can hold: a value that isn't the default, and how it is shown.
private let overrides: [(key: String, value: String, shown: String)] = [
    ("hostname", "mx.example.org", "the system's host name"),
    ("listen_addr", "127.0.0.1:25", "\":2525\""),
    ("listeners", #"[{"address": ":25"}]"#, "[{}]"),
    ("user", "elemta", "\"elemta\""),
    ("queue_dir", "/var/spool/elemta", "\"/var/spool/elemta\""),
    ("max_message_size", "1000", "1000"),
    ("dev_mode", "true", "true"),
    ("local_domains", "", "[]"),
    ("postmaster", "root@example.org", "\"root@example.org\""),
    ("recipients", "", "[]"),
    ("allowed_relays", "10.0.0.0/8, ::1", "127.0.0.1, ::1 and the Docker networks"),
    ("auth.enabled", "true", "true"),
    ("auth.required", "false", "false"),
    ("auth.methods", "login", "[\"login\"]"),
    ("auth.backend", "ldap", "\"ldap\""),
    ("auth.file_path", "/u", "\"/u\""),
    ("auth.require_tls", "false", "false"),
    ("auth.max_failures", "3", "3"),
    ("auth.failure_window", "4", "4"),
    ("auth.ldap.url", "ldaps://h", "\"ldaps://h\""),
    ("auth.ldap.base_dn", "dc=a,dc=b", "\"dc=a,dc=b\""),
    ("auth.ldap.bind_dn", "cn=x", "\"cn=x\""),
    ("auth.ldap.bind_password_file", "", "\"\""),
    ("auth.ldap.user_filter", "(uid={user})", "\"(uid={user})\""),
    ("auth.ldap.starttls", "false", "false"),
    ("auth.ldap.ca_file", "/ca", "\"/ca\""),
    ("auth.ldap.timeout", "9", "9"),
    ("tls.enabled", "true", "true"),
    ("tls.cert_file", "/c", "\"/c\""),
    ("tls.key_file", "/k", "\"/k\""),
    ("tls.certificates", #"[{"cert_file": "/c", "key_file": "/k"}]"#, "[{}]"),
    ("tls.min_version", "1.3", "\"1.3\""),
    ("queue.max_workers", "8", "8"),
    ("queue.max_retries", "2", "2"),
    ("queue.max_queue_time", "3", "3"),
    ("queue.retry_schedule", "1,2 , 3", "[1, 2, 3]"),
    ("queue.delay_warning", "0", "0"),
    ("queue.failed_retention", "0", "0"),
    ("queue.min_free", "4096", "4096"),
    ("queue.allow_network_filesystem", "true", "true"),
    ("delivery.relay_host", "smtp.example.net:587", "\"smtp.example.net:587\""),
    ("delivery.relay_tls", "required", "\"required\""),
    ("delivery.relay_username", "", "\"\""),
    ("delivery.relay_password_file", "", "\"\""),
    ("delivery.relay_auth_in_clear", "true", "true"),
    ("delivery.routes", #"[{"domain": "a.example", "deliver": "discard"}]"#, "[{}]"),
    ("delivery.max_connections", "10", "10"),
    ("delivery.max_connections_per_destination", "7", "7"),
    ("delivery.idle_connection", "0", "0"),
    ("delivery.messages_per_connection", "1", "1"),
    ("delivery.rate", #"[{"domain": "a.example", "limit": "1/1s"}]"#, "[{}]"),
    ("delivery.helo_name", "out.example.org", "\"out.example.org\""),
    ("delivery.bind", "192.0.2.1,2001:db8::1", "[\"192.0.2.1\", \"2001:db8::1\"]"),
    ("delivery.connect_timeout", "1", "1"),
    ("delivery.dns_servers", "127.0.0.1:5353,[::1]:53", "[\"127.0.0.1:5353\", \"[::1]:53\"]"),
    ("limits.max_connections", "100", "100"),
    ("limits.max_connections_per_ip", "3", "3"),
    ("limits.messages_per_connection", "2", "2"),
    ("limits.rate_per_ip", "100/60s", "\"100/60s\""),
    ("limits.max_recipients", "5", "5"),
    ("limits.max_errors", "6", "6"),
    ("limits.greet_delay", "1", "1"),
    ("limits.xclient_hosts", "::1", "[\"::1\"]"),
    ("limits.bare_newline", "normalize", "\"normalize\""),
    ("limits.bare_newline_exempt", "10.0.0.0/8", "[\"10.0.0.0/8\"]"),
    ("limits.command_timeout", "1", "1"),
    ("limits.data_timeout", "2", "2"),
    ("limits.transaction_timeout", "3", "3"),
    ("limits.session_timeout", "4", "4"),
    ("limits.shutdown_timeout", "0", "0"),
    ("limits.memory", "1048576", "1048576"),
    ("limits.spill_threshold", "0", "0"),
    ("logging.level", "debug", "\"debug\""),
    ("logging.format", "json", "\"json\""),
    ("logging.file", "/log", "\"/log\""),
    ("http.listen_addr", "127.0.0.1:8080", "\"127.0.0.1:8080\""),
    ("http.token_file", "", "\"\""),
]

@Suite("Environment")
struct EnvironmentTests {
    @Test("the table has every key that a variable can hold")
    func tableIsWhole() {
        let keys = Configuration.keys.filter { $0.environmentVariable != nil }
        #expect(keys.map(\.path) == overrides.map(\.key))
    }

    @Test("each variable wins over the file", arguments: overrides.indices)
    func everyKey(index: Int) throws {
        let (key, value, expected) = overrides[index]
        let name = "ELEMTA_" + key.uppercased().split(separator: ".").joined(separator: "_")
        let loaded = try read(
            "queue: {max_workers: 3}\nlogging: {level: error}", environment: [name: value])
        #expect(shown(loaded.configuration)[key] == expected)
        #expect(loaded.warnings.isEmpty)
    }

    @Test("all variables at once")
    func allAtOnce() throws {
        // The two exclude each other.
        let variables = overrides.filter { $0.key != "listeners" }.map {
            (environmentName(of: $0.key), $0.value)
        }
        let loaded = try read("", environment: Dictionary(uniqueKeysWithValues: variables))
        let configuration = loaded.configuration
        #expect(configuration.hostname.description == "mx.example.org")
        #expect(configuration.listeners.map(\.address.description) == ["127.0.0.1:25"])
        #expect(configuration.allowedRelays?.map(\.description) == ["10.0.0.0/8", "::1"])
        #expect(configuration.queue.retrySchedule == [1, 2, 3])
    }

    @Test("an empty variable is an empty list, which is not an absent one")
    func emptyList() throws {
        let loaded = try read("", environment: ["ELEMTA_ALLOWED_RELAYS": ""])
        #expect(loaded.configuration.allowedRelays == [])
    }

    @Test("no two keys have the same variable")
    func namesAreUnique() {
        let names = Configuration.keys.flatMap { key in
            [
                key.environmentVariable, key.secretVariable,
                key.alias.map(environmentName),
            ].compactMap { $0 }
        }
        #expect(Set(names).count == names.count)
        #expect(!names.contains("ELEMTA_CONFIG"))
    }

    @Test("what is wrong names the variable, the key and what is allowed")
    func errors() {
        let table: [(name: String, value: String, problem: String)] = [
            (
                "ELEMTA_QUEUE_MAX_WORKERS", "many",
                "queue.max_workers: found \"many\"; allowed: a whole number from 1 to 256"
            ),
            (
                "ELEMTA_QUEUE_MAX_WORKERS", "",
                "queue.max_workers: found \"\"; allowed: a whole number from 1 to 256"
            ),
            ("ELEMTA_DEV_MODE", "yes", "dev_mode: found \"yes\"; allowed: true or false"),
            (
                "ELEMTA_QUEUE_RETRY_SCHEDULE", "60,,",
                "queue.retry_schedule[1]: found \"\"; "
                    + "allowed: a whole number from 1 to 31536000 (seconds)"
            ),
            (
                "ELEMTA_DELIVERY_ROUTES", "x",
                "delivery.routes: found \"x\"; "
                    + "allowed: a list (each: a map of keys: domain, deliver, tls)"
            ),
            (
                "ELEMTA_DELIVERY_ROUTES", #"[{"domain": "a.example", "deliver": "by hand"}]"#,
                "delivery.routes[0].deliver: found \"by hand\"; allowed: "
                    + "smtp://host:port, lmtp://host:port, lmtp+unix:///path, "
                    + "maildir:///path/{domain}/{local}, mx, discard"
            ),
            (
                "ELEMTA_DELIVERY_RATE", #"[{"domain": "a.example", "limits": "1/1s"}]"#,
                "delivery.rate[0].limits: unknown key; did you mean limit?"
            ),
            (
                "ELEMTA_RECIPIENTS", #"[{"domain": "a.example", "domain": "b.example"}]"#,
                "recipients[0].domain: doubled key, first given in line 1"
            ),
            (
                "ELEMTA_TLS_CERTIFICATES", "[{",
                "tls.certificates: did not find expected node content "
                    + "while parsing a flow node"
            ),
        ]
        for (name, value, problem) in table {
            let found = problems("", environment: [name: value])
            #expect(found.first == "environment variable \(name): \(problem)")
        }
    }

    @Test("an unknown variable is a warning, with a suggestion where one is near")
    func unknownVariables() throws {
        let environment = [
            "ELEMTA_PORT_2525_TCP": "tcp://10.0.0.1", "ELEMTA_QUEUE_MAX_WORKER": "8",
            "ELEMTA_CONFIG": "somewhere", "HOSTNAME": "x",
        ]
        let loaded = try read("", environment: environment)
        #expect(
            loaded.warnings.map(\.description) == [
                "environment variable ELEMTA_PORT_2525_TCP: unknown, ignored",
                "environment variable ELEMTA_QUEUE_MAX_WORKER: unknown, ignored; "
                    + "did you mean ELEMTA_QUEUE_MAX_WORKERS?",
            ])
    }

    @Test("a secret comes in a variable or a file, and no message shows it")
    func secrets() throws {
        let user = [
            "ELEMTA_DELIVERY_RELAY_USERNAME": "u", "ELEMTA_DELIVERY_RELAY_HOST": "h.example",
        ]
        let secret = "swordfish"
        var environment = user
        environment["ELEMTA_DELIVERY_RELAY_PASSWORD"] = secret
        let given = try read("", environment: environment).configuration.delivery
        #expect(given.relayPassword == .given(Secret(secret)))
        #expect(!"\(given)".contains(secret) && !String(reflecting: given).contains(secret))
        var dumped = ""
        dump(given, to: &dumped)
        #expect(!dumped.contains(secret))

        environment = user
        environment["ELEMTA_DELIVERY_RELAY_PASSWORD_FILE"] = "/run/secrets/relay"
        let file = try read("", environment: environment).configuration.delivery
        #expect(file.relayPassword == .file("/run/secrets/relay"))

        environment["ELEMTA_DELIVERY_RELAY_PASSWORD"] = secret
        let both = problems("", environment: environment).joined()
        #expect(both.contains("ELEMTA_DELIVERY_RELAY_PASSWORD is given too; allowed: one of them"))
        #expect(!both.contains(secret))
    }

    @Test("both names of a key in the environment are an error")
    func bothNames() {
        let environment = ["ELEMTA_MAX_SIZE": "1", "ELEMTA_MAX_MESSAGE_SIZE": "2"]
        #expect(
            problems("", environment: environment) == [
                "environment variable ELEMTA_MAX_MESSAGE_SIZE: max_message_size: "
                    + "ELEMTA_MAX_SIZE is given too; allowed: one of them"
            ])
    }

    @Test("a variable with one name wins over the file with the other")
    func aliasOverridesTheFile() throws {
        let text = "max_size: 5\nqueue_dir: q"
        let environment = ["ELEMTA_MAX_MESSAGE_SIZE": "7"]
        #expect(try read(text, environment: environment).configuration.maxMessageSize == 7)
    }

    @Test("a section that isn't a map stays an error, whatever the variables say")
    func brokenSection() {
        let found = problems("queue: 5", environment: ["ELEMTA_QUEUE_MAX_WORKERS": "8"])
        #expect(found == ["elemta.yaml:1: queue: found 5; allowed: a map of keys"])
    }

    @Test("the command line wins over the environment, and listen_addr replaces listeners")
    func commandLine() throws {
        let option = Configuration.Override(
            key: "listen_addr", value: "127.0.0.1:0", option: "--listen")
        let loaded = try read(
            "listeners: [{address: \":25\"}]", environment: ["ELEMTA_LISTEN_ADDR": ":26"],
            overrides: [option])
        #expect(loaded.configuration.listeners.map(\.address.description) == ["127.0.0.1:0"])
        #expect(
            loaded.warnings.map(\.description) == [
                "elemta.yaml:1: listeners: replaced by environment variable ELEMTA_LISTEN_ADDR"
            ])
    }

    @Test("a list of maps comes as JSON, and replaces that of the file")
    func listsOfMaps() throws {
        let environment = [
            "ELEMTA_LOCAL_DOMAINS": "example.com",
            "ELEMTA_DELIVERY_ROUTES":
                #"[{"domain": "example.com", "deliver": "smtp://next.example:25"}]"#,
        ]
        let loaded = try read(
            "delivery: {routes: [{domain: a.example, deliver: discard}]}", environment: environment)
        let routes = loaded.configuration.delivery.routes
        #expect(routes.map(\.domain.description) == ["example.com"])
        #expect(
            loaded.origin(of: "delivery.routes[0].deliver")
                == .environment("ELEMTA_DELIVERY_ROUTES"))
        #expect(loaded.warnings.isEmpty)

        let none = try read(
            "delivery: {routes: [{domain: a.example, deliver: discard}]}",
            environment: ["ELEMTA_DELIVERY_ROUTES": ""])
        #expect(none.configuration.delivery.routes.isEmpty)
    }

    @Test("listeners of a variable replace a file's listen_addr, and exclude that of a variable")
    func listeners() throws {
        var environment = [
            "ELEMTA_LISTENERS": #"[{"address": ":25"}, {"address": ":587", "submission": true}]"#
        ]
        let loaded = try read("listen_addr: \":26\"", environment: environment)
        #expect(loaded.configuration.listeners.map(\.address.description) == [":25", ":587"])
        #expect(loaded.configuration.listeners.map(\.submission) == [false, true])
        #expect(
            loaded.warnings.map(\.description) == [
                "elemta.yaml:1: listen_addr: replaced by environment variable ELEMTA_LISTENERS"
            ])
        environment["ELEMTA_LISTEN_ADDR"] = ":26"
        #expect(problems("", environment: environment).count == 1)
    }

    @Test("a wrong option names itself")
    func wrongOption() {
        let option = Configuration.Override(key: "listen_addr", value: "25", option: "--listen")
        let found = refusal { () throws(ConfigurationErrors) in
            try read("", overrides: [option])
        }
        #expect(found?.hasPrefix("--listen: listen_addr: found \"25\"; allowed") == true)
    }

    @Test("the environment of this process is readable")
    func processEnvironment() {
        #expect(Configuration.processEnvironment()["PATH"]?.isEmpty == false)
    }
}
