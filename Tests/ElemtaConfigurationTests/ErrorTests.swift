import Testing

@testable import ElemtaConfiguration

@Suite("Mistakes")
struct ErrorTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        let file: String
        let text: String
        let problems: [String]

        var testDescription: String { "\(file): \(text.prefix(60))" }
    }

    static let yaml: [Mistake] = [
        yaml("hostnam: a", "1: hostnam: unknown key; did you mean hostname?"),
        yaml(
            "\n\nqueue:\n  max_worker: 5",
            "4: queue.max_worker: unknown key; did you mean max_workers?"),
        yaml(
            "logging: {colour: true}",
            "1: logging.colour: unknown key; known here: level, format, file"),
        yaml("{level: 1}: x", "1: found a key that is a list or a map; allowed: a name"),
        yaml("- a", "1: found a list; allowed: a map of keys"),
        yaml("hello", "1: found \"hello\"; allowed: a map of keys"),
        yaml("queue: [1]", "1: queue: found a list; allowed: a map of keys"),
        yaml(
            "queue:\n  max_workers: 5\n  max_workers: 6",
            "3: queue.max_workers: doubled key, first given in line 2"),
        yaml("queue: {}\nlimits: {}\nqueue: {}", "3: queue: doubled key, first given in line 1"),
        yaml(
            "max_message_size: 5\nmax_size: 6",
            "2: max_size: is another name for max_message_size, given at elemta.yaml:1"),
        yaml("dev_mode: yes", "1: dev_mode: found \"yes\"; allowed: true or false"),
        yaml("dev_mode: off", "1: dev_mode: found \"off\"; allowed: true or false"),
        yaml("dev_mode: \"true\"", "1: dev_mode: found \"true\"; allowed: true or false"),
        yaml("dev_mode: 1", "1: dev_mode: found 1; allowed: true or false"),
        yaml("dev_mode:", "1: dev_mode: found nothing; allowed: true or false"),
        yaml("hostname: true", "1: hostname: found true; allowed: an ASCII domain name"),
        yaml("hostname: 5", "1: hostname: found 5; allowed: an ASCII domain name"),
        yaml(
            "hostname: bücher.example",
            "1: hostname: found \"bücher.example\"; allowed: an ASCII domain name"),
        yaml(
            "tls: {min_version: 1.2}",
            "1: tls.min_version: found the number 1.2; allowed: \"1.2\", \"1.3\""),
        yaml(
            "tls: {min_version: \"1.1\"}",
            "1: tls.min_version: found \"1.1\"; allowed: \"1.2\", \"1.3\""),
        yaml(
            "queue: {max_workers: 0}",
            "1: queue.max_workers: found 0; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: 257}",
            "1: queue.max_workers: found 257; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: -1}",
            "1: queue.max_workers: found -1; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: 05}",
            "1: queue.max_workers: found the number 05; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: 1e1}",
            "1: queue.max_workers: found the number 1e1; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: 99999999999999999999}",
            "1: queue.max_workers: found the number 99999999999999999999; "
                + "allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: \"5\"}",
            "1: queue.max_workers: found \"5\"; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {max_workers: {a: 1}}",
            "1: queue.max_workers: found a map of keys; allowed: a whole number from 1 to 256"),
        yaml(
            "queue: {retry_schedule: []}",
            "1: queue.retry_schedule: found 0 elements; allowed: 1 to 100"),
        yaml(
            "queue:\n  retry_schedule:\n    - 60\n    - soon",
            "4: queue.retry_schedule[1]: found \"soon\"; "
                + "allowed: a whole number from 1 to 31536000 (seconds)"),
        yaml(
            "local_domains: example.com",
            "1: local_domains: found \"example.com\"; allowed: a list "
                + "(each: \"example.com\" or \".example.com\" (its subdomains))"),
        yaml(
            "local_domains: [\"*\"]",
            "1: local_domains[0]: found \"*\"; "
                + "allowed: \"example.com\" or \".example.com\" (its subdomains)"),
        yaml(
            "allowed_relays: [10.0.0.1/8]",
            "1: allowed_relays[0]: found \"10.0.0.1/8\"; "
                + "allowed: an IP address, or a subnet like 10.0.0.0/8 without host bits"),
        yaml(
            "delivery:\n  routes:\n    - domain: a.example",
            "3: delivery.routes[0].deliver: missing, and has no default"),
        yaml(
            "delivery:\n  routes:\n    - domain: a.example\n      deliver: pigeon://x",
            "4: delivery.routes[0].deliver: found \"pigeon://x\"; allowed: smtp://host:port, "
                + "lmtp://host:port, lmtp+unix:///path, maildir:///path/{domain}/{local}, mx, discard"
        ),
        yaml(
            "limits: {rate_per_ip: fast}",
            "1: limits.rate_per_ip: found \"fast\"; allowed: a rate like \"100/60s\", or \"\""),
        yaml("queue_dir: \"\"", "1: queue_dir: found \"\"; allowed: a path"),
        yaml("queue_dir: \"a\\nb\"", "1: queue_dir: found \"a\\u{a}b\"; allowed: a path"),
        yaml("user: \"\\e[31m\"", "1: user: found \"\\u{1b}[31m\"; allowed: a user name, or \"\""),
        yaml(
            "listen_addr: 2525",
            "1: listen_addr: found 2525; allowed: \":2525\" (all addresses), \"127.0.0.1:2525\" or \"[::1]:2525\""
        ),
        yaml("a: &x 1", "1: found an anchor; allowed: each value written out"),
        yaml("a: [1]\nb: *x", "2: found an alias; allowed: each value written out"),
        yaml("a: !!str 1", "1: found a tag; allowed: plain values, and strings in quotes"),
        yaml("a: !x {}", "1: found a tag; allowed: plain values, and strings in quotes"),
        yaml("queue: {}\n---\nlimits: {}", "2: found a second document; allowed: one"),
        yaml(
            "a: [1", "2: did not find expected ',' or ']' while parsing a flow sequence in line 1"),
        yaml("a: \"x", "1: found unexpected end of stream while scanning a quoted scalar"),
        yaml(
            "a:\n\tb: 1",
            "2: found character that cannot start any token while scanning for the next token"),
        Mistake(
            file: "elemta.yaml", text: "hostnam: a\nqueue:\n  max_workers: 0\ndev_mode: 2\n",
            problems: [
                "elemta.yaml:1: hostnam: unknown key; did you mean hostname?",
                "elemta.yaml:3: queue.max_workers: found 0; allowed: a whole number from 1 to 256",
                "elemta.yaml:4: dev_mode: found 2; allowed: true or false",
            ]),
    ]

    static let toml: [Mistake] = [
        toml("hostnam = 'a'", "1: hostnam: unknown key; did you mean hostname?"),
        toml(
            "\n[queue]\nmax_worker = 5",
            "3: queue.max_worker: unknown key; did you mean max_workers?"),
        toml(
            "queue.max_workers = 0",
            "1: queue.max_workers: found 0; allowed: a whole number from 1 to 256"),
        toml("dev_mode = 1", "1: dev_mode: found 1; allowed: true or false"),
        toml("dev_mode = 'true'", "1: dev_mode: found \"true\"; allowed: true or false"),
        toml("hostname = 1979-05-27", "1: hostname: found a date; allowed: an ASCII domain name"),
        toml(
            "[tls]\nmin_version = 1.2",
            "2: tls.min_version: found the number 1.2; allowed: \"1.2\", \"1.3\""),
        toml(
            "[queue]\nretry_schedule = [\n  60,\n  'soon',\n]",
            "4: queue.retry_schedule[1]: found \"soon\"; "
                + "allowed: a whole number from 1 to 31536000 (seconds)"),
        toml(
            "[[delivery.routes]]\ndomain = '*'\ndeliver = 'mx'\n[[delivery.routes]]\ndomain = '*'",
            "4: delivery.routes[1].deliver: missing, and has no default"),
        toml(
            "[[delivery.routes]]\ndomain = '*'\ndeliver = 'mx'\n"
                + "[[delivery.routes]]\ndomain = 7\ndeliver = 'mx'",
            "5: delivery.routes[1].domain: found 7; "
                + "allowed: \"example.com\", \".example.com\" (its subdomains) or \"*\""),
        toml(
            "recipients = [\n {domain = 'a.example',\tcallout = 'x'}]\n",
            "2: recipients[0].callout: found \"x\"; allowed: true or false"),
        toml(
            "max_message_size = 5\nmax_size = 6",
            "2: max_size: is another name for max_message_size, given at elemta.toml:1"),
        toml(
            "a = 1\na = 2",
            "2: Error while parsing key-value pair: cannot redefine existing integer 'a'"),
        toml(
            "[queue]\n[queue]",
            "2: Error while parsing table header: cannot redefine existing table 'queue'"),
        toml("a = \"\\u0000\"", "1: found a NUL in a string; allowed: text"),
        toml("a = 1 b = 2", "1: found \"= 2\"; wanted: the end of the line"),
        toml("a = yes", "1: found \"yes\"; wanted: a value; strings are in quotes"),
        toml(
            "a = 1_",
            "1: Error while parsing key-value pair: expected a comment or whitespace, saw '_'"),
        toml("a 1", "1: found \"1\"; wanted: ="),
        toml("a =", "1: found the end of the line; wanted: a value; strings are in quotes"),
        toml("\na = 'x", "2: found a string without its end"),
        toml("a = [1\nb = 2", "2: found \"b = 2\"; wanted: , or ]"),
        toml("a = {b = 1", "1: found the end of the line; wanted: , or }"),
        toml("[a", "1: found the end of the line; wanted: ]"),
        toml("= 1", "1: found \"= 1\"; wanted: a key"),
        toml(
            "a = 1\rb = 2", "1: found \"\\u{d}b = 2\"; wanted: a line feed behind a carriage return"
        ),
        toml("bücher = 1", "1: found \"ücher = 1\"; wanted: ="),
    ]

    private static func yaml(_ text: String, _ problem: String) -> Mistake {
        Mistake(file: "elemta.yaml", text: text, problems: ["elemta.yaml:\(problem)"])
    }

    private static func toml(_ text: String, _ problem: String) -> Mistake {
        Mistake(file: "elemta.toml", text: text, problems: ["elemta.toml:\(problem)"])
    }

    @Test("each names file, line, key, what was found and what is allowed", arguments: yaml + toml)
    func everyMistake(mistake: Mistake) {
        #expect(problems(mistake.text, as: mistake.file) == mistake.problems)
    }

    @Test("a thousand are listed, the rest counted")
    func manyMistakes() {
        let text = (0..<5_000).map { "k\($0): 1\n" }.joined()
        let found = problems(text)
        #expect(found.count == 1_001)
        #expect(found.last == "elemta.yaml: and 4000 problems more")
    }
}
