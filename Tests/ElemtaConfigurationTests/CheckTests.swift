import Testing

@testable import ElemtaConfiguration

@Suite("Contradictions")
struct CheckTests {
    private static let route = "delivery: {routes: [{domain: a.example, deliver: mx}]}\n"

    static let refused: [(text: String, problem: String)] = [
        (
            "listen_addr: \":25\"\nlisteners: [{address: \":26\"}]",
            "1: listen_addr: listeners is given too, at elemta.yaml:2; allowed: one of them"
        ),
        ("listeners: []", "1: listeners: found no entry; allowed: at least one, or no such key"),
        (
            "listeners:\n  - address: \":25\"\n  - address: \":25\"",
            "3: listeners[1].address: :25 is listeners[0] already"
        ),
        (
            "listeners: [{address: \":25\", proxy_protocol: true}]",
            "1: listeners[0].trusted_proxies: found none; allowed: at least one, "
                + "since proxy_protocol is true"
        ),
        (
            "listeners: [{address: \":25\", auth_required: true}]",
            "1: listeners[0].auth_required: needs auth.enabled: true"
        ),
        (
            "listeners: [{address: \":25\", tls: implicit}]",
            "1: listeners[0].tls: implicit needs tls.enabled: true"
        ),
        (
            "tls: {enabled: true}\nauth: {enabled: true, require_tls: true}\n"
                + "listeners: [{address: \":25\", tls: off, auth_required: true}]",
            "3: listeners[0].tls: off where a login is required and auth.require_tls allows none; "
                + "allowed: starttls, implicit"
        ),
        (
            "local_domains: [b.example]\n" + route,
            "1: local_domains[0]: found \"b.example\" without a route; "
                + "allowed: a domain that an entry of delivery.routes matches"
        ),
        (
            "local_domains: [a.example, .a.example]\n" + route,
            "1: local_domains[1]: found \".a.example\" without a route; "
                + "allowed: a domain that an entry of delivery.routes matches"
        ),
        (
            "delivery: {relay_host: smart.example}\nlocal_domains: [b.example]",
            "2: local_domains[0]: found \"b.example\" without a route; "
                + "allowed: a domain that an entry of delivery.routes matches"
        ),
        (
            "recipients: [{domain: a.example}]",
            "1: recipients[0]: needs one of file, ldap and callout, and no more than one"
        ),
        (
            "recipients: [{domain: a.example, file: x, callout: true}]",
            "1: recipients[0]: needs one of file, ldap and callout, and no more than one"
        ),
        (
            "recipients:\n- {domain: a.example, file: x}\n- {domain: a.example, file: y}",
            "3: recipients[1].domain: \"a.example\" is recipients[0] already"
        ),
        ("auth: {required: true}", "1: auth.required: needs auth.enabled: true"),
        (
            "auth: {enabled: true, require_tls: true}",
            "1: auth.require_tls: needs tls.enabled: true, or AUTH is never offered"
        ),
        (
            "auth: {methods: [plain, plain]}",
            "1: auth.methods: found a method twice; allowed: each once"
        ),
        (
            "auth: {ldap: {url: \"ldaps://x\", starttls: true}}",
            "1: auth.ldap.starttls: true needs a url that begins with ldap://"
        ),
        ("auth: {ldap: {bind_password_file: x}}", "1: auth.ldap.bind_password_file: needs bind_dn"),
        (
            "recipients: [{domain: a.example, ldap: {bind_password_file: x}}]",
            "1: recipients[0].ldap.bind_password_file: needs bind_dn"
        ),
        (
            "delivery: {relay_host: h.example, relay_username: u}",
            "1: delivery.relay_username: needs relay_password_file"
        ),
        (
            "delivery: {relay_password_file: p}",
            "1: delivery.relay_password_file: needs relay_username"
        ),
        (
            "delivery: {relay_username: u, relay_password_file: p}",
            "1: delivery.relay_username: needs relay_host"
        ),
        (
            "delivery: {relay_host: h.example, relay_username: u, relay_password_file: p,\n"
                + " relay_tls: off}",
            "2: delivery.relay_tls: off with relay_username; allowed: opportunistic, required, "
                + "or relay_auth_in_clear: true"
        ),
        (
            "limits:\n  memory: 1048576\n  spill_threshold: 1048576",
            "2: limits.memory: found 1048576; allowed: more than limits.spill_threshold, "
                + "which is 1048576"
        ),
    ]

    static let accepted = [
        "local_domains: [a.example]\n" + route,
        "local_domains: [b.a.example, .a.example]\n"
            + "delivery: {routes: [{domain: .a.example, deliver: mx}]}",
        "local_domains: [a.example, .b.example]\n"
            + "delivery: {routes: [{domain: \"*\", deliver: discard}]}",
        "local_domains: [.b.example, c.b.example]\n"
            + "delivery: {routes: [{domain: .example, deliver: mx}]}",
        "tls: {enabled: true}\nauth: {enabled: true, required: true, require_tls: true}\n"
            + "listeners: [{address: \":465\", tls: implicit, auth_required: true}]",
        "listeners: [{address: \":0\"}, {address: \":0\"}]",
        "listeners: [{address: \":25\", tls: off}]",
        "listeners: [{address: \":25\", proxy_protocol: true, trusted_proxies: [10.0.0.0/8]}]",
        "delivery: {relay_host: h.example, relay_username: u, relay_password_file: p,"
            + " relay_tls: off, relay_auth_in_clear: true}",
        "allowed_relays: []", "max_size: 5", "queue: {min_free: 0}", "auth:\n  # enabled: true\n",
        "limits: {rate_per_ip: 100/60s}", "http: {listen_addr: 127.0.0.1:8080}",
    ]

    @Test("are refused", arguments: refused)
    func refusals(text: String, problem: String) {
        #expect(problems(text) == ["elemta.yaml:\(problem)"])
    }

    @Test("are not found where there are none", arguments: accepted)
    func acceptances(text: String) {
        #expect(problems(text).isEmpty)
    }

    @Test("a broken route doesn't make its domain one without a route")
    func brokenRoute() {
        let text = "local_domains: [a.example]\ndelivery: {routes: [{domain: a.example}]}"
        #expect(
            problems(text) == [
                "elemta.yaml:2: delivery.routes[0].deliver: missing, and has no default"
            ])
    }

    @Test("allowed_relays knows absent from empty")
    func allowedRelays() throws {
        #expect(try read("").configuration.allowedRelays == nil)
        #expect(try read("allowed_relays: []").configuration.allowedRelays == [])
    }

    @Test("settings that do nothing are warnings")
    func warnings() throws {
        let text = """
            delivery:
              routes:
                - {domain: .example, deliver: mx}
                - {domain: a.example, deliver: discard}
                - {domain: b.other, deliver: mx}
                - {domain: b.other, deliver: discard}
            recipients:
              - {domain: c.example, callout: true}
            """
        let addresses = """
            delivery:
              bind: [192.0.2.1, "2001:db8::1", 192.0.2.2]
            """
        #expect(
            try read(addresses).warnings.map(\.description) == [
                "elemta.yaml:2: delivery.bind[2]: 192.0.2.2 is never used: delivery.bind[0] is of "
                    + "the same family"
            ])
        #expect(
            try read(text).warnings.map(\.description) == [
                "elemta.yaml:8: recipients[0].domain: \"c.example\" is not in local_domains: never used",
                "elemta.yaml:4: delivery.routes[1].domain: \"a.example\" is never reached: "
                    + "delivery.routes[0] takes it",
                "elemta.yaml:6: delivery.routes[3].domain: \"b.other\" is never reached: "
                    + "delivery.routes[2] takes it",
            ])
    }
}
