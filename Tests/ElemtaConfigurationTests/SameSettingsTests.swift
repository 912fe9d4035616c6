import ElemtaSMTP
import Testing

@testable import ElemtaConfiguration

/// Every key, in YAML.
private let everythingInYAML = """
    hostname: mail.example.com
    listeners:
      - address: ":25"
      - {address: "127.0.0.1:587", auth_required: true, submission: true}
      - address: "[::1]:465"
        tls: implicit
        proxy_protocol: true
        trusted_proxies: [10.0.0.0/8, "2001:db8::/32"]
    user: elemta
    queue_dir: /var/spool/elemta
    max_message_size: 1000000
    dev_mode: true
    local_domains: [example.com, .example.com]
    postmaster: root@example.com
    recipients:
      - {domain: example.com, file: addresses.txt}
      - domain: a.example.com
        ldap: {url: "ldap://ldap.example.com", base_dn: "dc=example", timeout: 9}
      - {domain: b.example.com, callout: true}
    allowed_relays: [127.0.0.1, "::1", 10.1.0.0/16]
    auth:
      enabled: true
      required: true
      methods: [login]
      backend: ldap
      file_path: users
      require_tls: true
      max_failures: 3
      failure_window: 60
      ldap:
        url: ldap://localhost
        base_dn: dc=example,dc=com
        bind_dn: cn=elemta
        bind_password_file: bind
        user_filter: (uid={user})
        starttls: true
        ca_file: ca.pem
        timeout: 2
    tls:
      enabled: true
      cert_file: c.pem
      key_file: k.pem
      certificates: [{cert_file: c2.pem, key_file: k2.pem}]
      min_version: "1.3"
    queue:
      max_workers: 2
      max_retries: 3
      max_queue_time: 4
      retry_schedule: [1, 2]
      delay_warning: 5
      failed_retention: 6
      min_free: 7
      allow_network_filesystem: true
    delivery:
      relay_host: "[10.0.0.5]:26"
      relay_tls: required
      relay_username: u
      relay_password_file: p
      relay_auth_in_clear: true
      routes:
        - {domain: example.com, deliver: "smtp://127.0.0.1:2600", tls: off}
        - {domain: .example.com, deliver: "lmtp+unix:///run/lmtp"}
        - {domain: "*", deliver: "maildir:///mail/{domain}/{local}"}
      max_connections: 10
      max_connections_per_destination: 2
      idle_connection: 1
      messages_per_connection: 3
      rate: [{domain: example.com, limit: 10/1s}]
      helo_name: out.example.com
      bind: [192.0.2.1, "2001:db8::1"]
      connect_timeout: 4
      dns_servers: ["127.0.0.1:5353"]
    limits:
      max_connections: 1
      max_connections_per_ip: 2
      messages_per_connection: 3
      rate_per_ip: 100/60s
      max_recipients: 4
      max_errors: 5
      greet_delay: 6
      xclient_hosts: [10.0.0.1]
      bare_newline: normalize
      bare_newline_exempt: [10.0.0.2]
      command_timeout: 7
      data_timeout: 8
      transaction_timeout: 9
      session_timeout: 10
      shutdown_timeout: 11
      memory: 2097152
      spill_threshold: 12
    logging: {level: debug, format: json, file: log}
    http: {listen_addr: ":8080", token_file: token}
    """

/// The same in TOML, with all of its ways to write a table.
private let everythingInTOML = """
    hostname = "mail.example.com"
    user = 'elemta'
    queue_dir = "/var/spool/elemta"
    max_size = 1_000_000
    dev_mode = true
    local_domains = ["example.com", ".example.com"]
    postmaster = "root@example.com"
    allowed_relays = [
        "127.0.0.1",  # this machine
        "::1", "10.1.0.0/16",
    ]
    recipients = [
        { domain = "example.com", file = "addresses.txt" },
        { domain = "a.example.com", ldap.url = "ldap://ldap.example.com", ldap.base_dn = "dc=example", ldap.timeout = 9 },
        { domain = "b.example.com", callout = true },
    ]
    logging = { level = "debug", format = "json", file = "log" }
    http.listen_addr = ":8080"
    http.token_file = "token"

    [[listeners]]
    address = ":25"
    [[listeners]]
    address = "127.0.0.1:587"
    auth_required = true
    submission = true
    [[listeners]]
    address = "[::1]:465"
    tls = "implicit"
    proxy_protocol = true
    trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"]

    [auth]
    enabled = true
    required = true
    methods = ["login"]
    backend = "ldap"
    file_path = "users"
    require_tls = true
    max_failures = 0x3
    failure_window = 60
    [auth.ldap]
    url = "ldap://localhost"
    base_dn = "dc=example,dc=com"
    bind_dn = "cn=elemta"
    bind_password_file = "bind"
    user_filter = "(uid={user})"
    starttls = true
    ca_file = "ca.pem"
    timeout = 2

    [tls]
    enabled = true
    cert_file = "c.pem"
    key_file = "k.pem"
    min_version = "1.3"
    [[tls.certificates]]
    cert_file = "c2.pem"
    key_file = "k2.pem"

    [queue]
    max_workers = 2
    max_retries = 3
    max_queue_time = 4
    retry_schedule = [1, 2]
    delay_warning = 5
    failed_retention = 6
    min_free = 7
    allow_network_filesystem = true

    [delivery]
    relay_host = "[10.0.0.5]:26"
    relay_tls = "required"
    relay_username = "u"
    relay_password_file = "p"
    relay_auth_in_clear = true
    max_connections = 10
    max_connections_per_destination = 2
    idle_connection = 1
    messages_per_connection = 3
    rate = [{ domain = "example.com", limit = "10/1s" }]
    helo_name = "out.example.com"
    bind = ["192.0.2.1", "2001:db8::1"]
    connect_timeout = 4
    dns_servers = ["127.0.0.1:5353"]
    [[delivery.routes]]
    domain = "example.com"
    deliver = "smtp://127.0.0.1:2600"
    tls = "off"
    [[delivery.routes]]
    domain = ".example.com"
    deliver = "lmtp+unix:///run/lmtp"
    [[delivery.routes]]
    domain = "*"
    deliver = "maildir:///mail/{domain}/{local}"

    [limits]
    max_connections = 1
    max_connections_per_ip = 2
    messages_per_connection = 3
    rate_per_ip = "100/60s"
    max_recipients = 4
    max_errors = 5
    greet_delay = 6
    xclient_hosts = ["10.0.0.1"]
    bare_newline = "normalize"
    bare_newline_exempt = ["10.0.0.2"]
    command_timeout = 7
    data_timeout = 8
    transaction_timeout = 9
    session_timeout = 10
    shutdown_timeout = 11
    memory = 2_097_152
    spill_threshold = 12
    """

@Suite("The same settings")
struct SameSettingsTests {
    @Test("every key, in YAML and in TOML")
    func everyKey() throws {
        let yaml = try read(everythingInYAML)
        let toml = try read(everythingInTOML, as: "elemta.toml")
        #expect(yaml.configuration == toml.configuration)
        #expect(yaml.warnings.isEmpty && toml.warnings.isEmpty)
        let untouched = try shown(read("").configuration).filter { key, value in
            shown(yaml.configuration)[key] == value && !key.contains("[]")
        }
        // These are shown in words, not by value.
        let inWords: Set = [
            "hostname", "listen_addr", "allowed_relays", "listeners", "http.token_file",
            "auth.ldap.bind_password_file", "delivery.relay_password_file",
        ]
        #expect(Set(untouched.keys).isSubset(of: inWords), "\(untouched.keys.sorted())")
    }

    @Test("what was read is what was written")
    func values() throws {
        let configuration = try read(everythingInYAML).configuration
        #expect(
            configuration.listeners.map(\.address.description) == [
                ":25", "127.0.0.1:587", "[::1]:465",
            ])
        #expect(configuration.listeners[2].tls == .implicit)
        #expect(
            configuration.recipients.map(\.domain.description) == [
                "example.com", "a.example.com", "b.example.com",
            ])
        #expect(configuration.recipients[0].source == .file("addresses.txt"))
        #expect(configuration.recipients[2].source == .callout)
        #expect(configuration.delivery.routes[0].tls == .off)
        #expect(configuration.delivery.routes[1].deliver == .lmtpSocket(path: "/run/lmtp"))
        #expect(configuration.delivery.rate[0].limit == .init(count: 10, seconds: 1))
        #expect(configuration.http.token == .file("token"))
        #expect(configuration.auth.ldap.bindPassword == .file("bind"))
        #expect(configuration.hostname.description == "mail.example.com")
    }

    @Test("a byte-order mark and CRLF change nothing")
    func lineEndings() throws {
        func dressed(_ text: String) -> String {
            "\u{FEFF}"
                + text.split(separator: "\n", omittingEmptySubsequences: false)
                .joined(separator: "\r\n")
        }
        #expect(
            try read(dressed(everythingInYAML)).configuration
                == read(everythingInYAML).configuration)
        #expect(
            try read(dressed(everythingInTOML), as: "a.toml").configuration
                == read(everythingInYAML).configuration)
        #expect(
            problems(dressed("queue_dir: q\nqueue:\n  max_workers: 0")) == [
                "elemta.yaml:3: queue.max_workers: found 0; allowed: a whole number from 1 to 256"
            ])
    }

    @Test("the sample files")
    func samples() throws {
        func load(_ name: String) throws -> LoadedConfiguration {
            try Configuration.load(explicitPath: "\(sampleFolder)/\(name)", environment: [:])
        }
        let yaml = try load("elemta.yaml")
        let toml = try load("elemta.toml")
        #expect(yaml.configuration == toml.configuration)
        #expect(yaml.warnings.isEmpty && toml.warnings.isEmpty)
        #expect(yaml.configuration.listeners.map(\.address.description) == [":2525"])
        #expect(yaml.configuration.logging.file == "logs/elemta.log")
        #expect(yaml.configuration.localDomains.isEmpty)

        let development = try load("dev.yaml")
        #expect(development.warnings.isEmpty)
        #expect(
            development.configuration.listeners.map(\.address.description) == ["127.0.0.1:2525"])
        #expect(development.configuration.devMode)
    }

    @Test("what the sample files say is the default, but for log, relays, certificate and metrics")
    func samplesSayTheDefaults() throws {
        let sample = try Configuration.load(
            explicitPath: "\(sampleFolder)/elemta.yaml", environment: [:]
        ).configuration
        var expected = try read("").configuration
        expected.logging.file = "logs/elemta.log"
        expected.allowedRelays = ["127.0.0.1", "::1"].compactMap { IPSubnet($0) }
        expected.tls.enabled = true
        expected.tls.certFile = "config/certs/cert.pem"
        expected.tls.keyFile = "config/certs/key.pem"
        expected.http.listenAddr = Configuration.ListenAddress("127.0.0.1:8080")
        #expect(sample == expected)
    }
}
