import ElemtaSMTP
import Testing

@testable import ElemtaConfiguration

/// Every key that is not inside a list, with its default as YAML writes it.
private let defaults: [String: String] = [
    "hostname": "the system's host name",
    "listen_addr": "\":2525\"",
    "listeners": "[]",
    "user": "\"\"",
    "queue_dir": "\"./queue\"",
    "max_message_size": "26214400",
    "dev_mode": "false",
    "local_domains": "[]",
    "postmaster": "\"\"",
    "recipients": "[]",
    "allowed_relays": "127.0.0.1, ::1 and the Docker networks",
    "auth.enabled": "false",
    "auth.required": "false",
    "auth.methods": "[\"plain\", \"login\"]",
    "auth.backend": "\"file\"",
    "auth.file_path": "\"/etc/elemta/users.json\"",
    "auth.require_tls": "false",
    "auth.max_failures": "30",
    "auth.failure_window": "600",
    "auth.ldap.url": "\"ldap://localhost:389\"",
    "auth.ldap.base_dn": "\"\"",
    "auth.ldap.bind_dn": "\"\"",
    "auth.ldap.bind_password_file": "\"\"",
    "auth.ldap.user_filter": "\"(mail={user})\"",
    "auth.ldap.starttls": "false",
    "auth.ldap.ca_file": "\"\"",
    "auth.ldap.timeout": "5",
    "tls.enabled": "false",
    "tls.cert_file": "\"/etc/elemta/certs/cert.pem\"",
    "tls.key_file": "\"/etc/elemta/certs/key.pem\"",
    "tls.certificates": "[]",
    "tls.min_version": "\"1.2\"",
    "queue.max_workers": "5",
    "queue.max_retries": "30",
    "queue.max_queue_time": "432000",
    "queue.retry_schedule": "[60, 300, 900, 3600, 10800, 21600]",
    "queue.delay_warning": "14400",
    "queue.failed_retention": "604800",
    "queue.min_free": "\"\"",
    "queue.allow_network_filesystem": "false",
    "delivery.relay_host": "\"\"",
    "delivery.relay_tls": "\"opportunistic\"",
    "delivery.relay_username": "\"\"",
    "delivery.relay_password_file": "\"\"",
    "delivery.relay_auth_in_clear": "false",
    "delivery.routes": "[]",
    "delivery.max_connections": "2000",
    "delivery.max_connections_per_destination": "20",
    "delivery.idle_connection": "5",
    "delivery.messages_per_connection": "100",
    "delivery.rate": "[]",
    "delivery.helo_name": "\"\"",
    "delivery.bind": "[]",
    "delivery.connect_timeout": "30",
    "delivery.dns_servers": "[]",
    "limits.max_connections": "0",
    "limits.max_connections_per_ip": "0",
    "limits.messages_per_connection": "0",
    "limits.rate_per_ip": "\"\"",
    "limits.max_recipients": "1000",
    "limits.max_errors": "20",
    "limits.greet_delay": "0",
    "limits.xclient_hosts": "[]",
    "limits.bare_newline": "\"reject\"",
    "limits.bare_newline_exempt": "[]",
    "limits.command_timeout": "300",
    "limits.data_timeout": "600",
    "limits.transaction_timeout": "3600",
    "limits.session_timeout": "86400",
    "limits.shutdown_timeout": "10",
    "limits.memory": "268435456",
    "limits.spill_threshold": "262144",
    "logging.level": "\"info\"",
    "logging.format": "\"text\"",
    "logging.file": "\"\"",
    "http.listen_addr": "\"\"",
    "http.token_file": "\"\"",
]

@Suite("Defaults")
struct DefaultsTests {
    @Test("each key has the default of the table, and the table has each key")
    func everyKeyHasItsDefault() {
        let keys = Configuration.keys.filter { !$0.path.contains("[]") }
        #expect(Set(keys.map(\.path)) == Set(defaults.keys))
        for key in keys {
            #expect(key.defaultValue == defaults[key.path], "\(key.path)")
        }
    }

    @Test("a file without keys is the defaults", arguments: ["", "# nothing\n", "---\n", "{}"])
    func nothingIsTheDefaults(text: String) throws {
        let loaded = try read(text)
        let expected = defaults.filter { !["hostname", "listeners"].contains($0.key) }
        #expect(shown(loaded.configuration).filter { expected[$0.key] != nil } == expected)
        #expect(loaded.configuration.listeners == [.init(address: .init(port: 2525))])
        #expect(loaded.configuration.allowedRelays == nil)
        #expect(loaded.warnings.isEmpty)
    }

    @Test("no file at all is the defaults, and says so")
    func builtIn() throws {
        let loaded = try Configuration.read([], from: .builtIn)
        #expect(loaded.source == .builtIn)
        #expect(try loaded.configuration == read("").configuration)
    }

    @Test("each key says what it means, what is allowed and how its variable is called")
    func everyKeyIsDescribed() {
        for key in Configuration.keys {
            #expect(!key.summary.isEmpty && !key.allowed.isEmpty, "\(key.path)")
            let isInList = key.path.contains("[]")
            #expect((key.environmentVariable == nil) == isInList, "\(key.path)")
        }
    }

    @Test("the system's host name is used, and is a name that a greeting may hold")
    func hostname() throws {
        let name = try read("").configuration.hostname
        #expect(!name.octets.isEmpty && name.octets.allSatisfy { $0 < 0x80 })
    }

    @Test("a system's name that is no domain name is not used, and that is said")
    func unusableHostname() throws {
        for name in ["my_host", "", "bücher", nil] {
            let loaded = try Configuration.read([], from: .builtIn, systemHostname: name)
            #expect(loaded.configuration.hostname.description == "localhost")
            #expect(
                loaded.warnings.map(\.description) == [
                    "built-in defaults: hostname: localhost is used, since the system's host name "
                        + "is no domain name"
                ])
            let given = try Configuration.read(
                Array("hostname: a.example".utf8), from: .file("a.yaml"), systemHostname: name)
            #expect(given.warnings.isEmpty)
        }
    }
}
