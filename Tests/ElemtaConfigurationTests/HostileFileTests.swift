import Glibc
import Testing

@testable import ElemtaConfiguration

/// A file that costs more than it should, or ends the process, in a careless reader.
struct HostileFile: Sendable, CustomTestStringConvertible {
    let name: String
    let file: String
    let text: String
    /// What one of the errors holds; nil: the file is accepted.
    let problem: String?

    var testDescription: String { "\(name) (\(file))" }

    static func yaml(_ name: String, _ problem: String?, _ text: String) -> HostileFile {
        HostileFile(name: name, file: "x.yaml", text: text, problem: problem)
    }

    static func toml(_ name: String, _ problem: String?, _ text: String) -> HostileFile {
        HostileFile(name: name, file: "x.toml", text: text, problem: problem)
    }
}

/// As many of `piece` as fit into 1 MiB with some room left.
private func filled(_ piece: String, room: Int = 64) -> String {
    String(repeating: piece, count: (maximumFileSize - room) / piece.utf8.count)
}

private func numbered(limit: Int = maximumFileSize - 64, _ piece: (Int) -> String) -> String {
    var text = ""
    var number = 0
    while true {
        let next = piece(number)
        if text.utf8.count + next.utf8.count > limit { return text }
        text += next
        number += 1
    }
}

private let deep = 100_000
private let tooDeep = "nested too deep; allowed: 32 levels"
private let tooMany = "too many values; allowed: 100000"

@Suite("Hostile files", .serialized)
struct HostileFileTests {
    static let yaml: [HostileFile] = [
        .yaml(
            "binary", ":1: found the control octet 127; allowed: UTF-8 text", "\u{7F}ELF\u{2}\u{1}"),
        .yaml("NUL", ":2: found a NUL octet; allowed: UTF-8 text", "a: 1\nb: \u{0}"),
        .yaml(
            "billion laughs", ":1: found an anchor",
            "a: &a [x, x]\n"
                + (0..<30).map { "b\($0): &b\($0) [*a, *a, *a]\n" }.joined()),
        .yaml("flow lists", tooDeep, String(repeating: "[", count: deep)),
        .yaml("flow maps", tooDeep, String(repeating: "{a: ", count: deep)),
        .yaml("block lists", tooDeep, String(repeating: "- ", count: deep)),
        .yaml(
            "complex keys", "found a key that is a list or a map",
            String(repeating: "? ", count: deep)),
        .yaml(
            "block maps", tooDeep,
            (0..<1_000).map { String(repeating: " ", count: $0) + "a:\n" }.joined()),
        .yaml("one long scalar", "unknown key", "a: " + filled("x")),
        .yaml("escapes", "unknown key", "a: \"" + filled("\\x41") + "\""),
        .yaml("blank lines in a string", "unknown key", "a: \"" + filled("\n") + "\""),
        .yaml("spaces", "unknown key", "a: x" + filled(" ") + "y"),
        .yaml("many elements", tooMany, "local_domains: [" + filled("a,") + "]"),
        .yaml("many maps", tooMany, "recipients: [" + filled("{},") + "]"),
        .yaml(
            "many unknown keys", "unknown key", numbered(limit: 400_000) { "k\($0): 1\n" }),
        .yaml("many doubled keys", "doubled key", String(filled("a: 1\n").prefix(200_000))),
        .yaml("tag handles", "found many a %TAG", numbered { "%TAG !a\($0)! b\n" } + "--- {}"),
        .yaml(
            "tag handles behind other line ends", "found many a %TAG",
            numbered { "%TAG !a\($0)! b\u{2028}" } + "--- {}"),
        .yaml("directives", "duplicate %YAML", filled("%YAML 1.1\n")),
        .yaml("documents", "found a second document", filled("---\n")),
        .yaml("possible keys", "allowed: a map of keys", filled("a ")),
        .yaml("an open map", "flow mapping", "{" + filled("a\n")),
        .yaml(
            "domains without routes", "without a route",
            "local_domains:\n" + numbered { "- d\($0).example\n" }),
        .yaml("only comments", nil, filled("# x\n")),
        .yaml("one comment", nil, "#" + filled("x")),
    ]

    static let toml: [HostileFile] = [
        .toml("arrays", tooDeep, "a = " + String(repeating: "[", count: deep)),
        .toml(
            "closed arrays", tooDeep,
            "a = " + String(repeating: "[", count: deep) + String(repeating: "]", count: deep)),
        .toml("inline tables", tooDeep, "a = " + String(repeating: "{a=", count: deep)),
        .toml("dotted keys", tooDeep, String(repeating: "a.", count: deep) + "a = 1"),
        .toml("headers", tooDeep, "[" + String(repeating: "a.", count: deep) + "a]"),
        .toml("headers of lists", tooDeep, "[[" + String(repeating: "a.", count: deep) + "a]]"),
        .toml(
            "dotted keys in a table", tooDeep,
            "x = {" + String(repeating: "a.", count: deep) + "a = 1}"),
        .toml(
            "depth in parts", tooDeep,
            "[a.a.a.a.a.a.a.a.a.a.a.a]\nb.b.b.b.b.b.b.b.b.b.b.b = [[[[[[[[[[]]]]]]]]]]"),
        .toml("tables", tooMany, numbered { "[a\($0)]\n" }),
        .toml("tables made twice", "too many dotted keys", numbered { "[a\($0).b]\n[a\($0)]\n" }),
        .toml("tables by dots", "too many dotted keys", numbered { "a\($0).b=1\na\($0).c=1\n" }),
        .toml(
            "tables by dots in a table", "too many dotted keys",
            "a = {" + numbered { "k\($0).a=1,k\($0).b=2," } + "z=1}"),
        .toml("a list of tables", tooMany, filled("[[a]]\n")),
        .toml("keys", tooMany, numbered { "k\($0)=1\n" }),
        .toml("elements", tooMany, "local_domains = [" + filled("1,") + "]"),
        .toml("a long string", "allowed: an ASCII domain name", "hostname = '" + filled("x") + "'"),
        .toml("a long key", "unknown key", filled("x") + " = 1"),
        .toml(
            "many keys below a long one", "unknown key",
            "[" + String(repeating: "x", count: maximumFileSize / 2) + "]\n"
                + numbered(limit: maximumFileSize / 2 - 64) { "k\($0)=1\n" }),
        .toml("a long number", "too long", "a = " + filled("1")),
        .toml("a key that a C string would cut", "found a NUL in a string", "\"a\\u0000b\" = 1"),
        .toml("only comments", nil, filled("#x\n")),
        .toml("line feeds", nil, filled("\n")),
    ]

    @Test("are answered in bounded time and memory", arguments: yaml + toml)
    func boundedCost(hostile: HostileFile) {
        var found: [String] = []
        let taken = ContinuousClock().measure {
            found = problems(hostile.text, as: hostile.file)
        }
        // A second or two in a debug build; the quadratic algorithms behind these files took minutes.
        #expect(taken < .seconds(30))
        if let problem = hostile.problem {
            #expect(found.contains { $0.contains(problem) }, "\(found.first ?? "accepted")")
        } else {
            #expect(found.isEmpty)
        }
        var usage = rusage()
        unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        // KiB, at the peak of the whole test process.
        #expect(usage.ru_maxrss < 1 << 20)
    }

    @Test("that are no UTF-8 name the line")
    func notUTF8() {
        let table: [(octets: [UInt8], line: Int)] = [
            ([0x61, 0x3A, 0x20, 0xFF], 1), ([0x23, 0x0A, 0xC3, 0x28], 2),
        ]
        for (octets, line) in table {
            let found = refusal { () throws(ConfigurationErrors) in
                try Configuration.read(octets, from: .file("x.yaml"))
            }
            #expect(found == "x.yaml:\(line): found octets that are not UTF-8; allowed: UTF-8 text")
        }
    }

    @Test("that are no files are refused at once")
    func noFiles() throws {
        let folder = try TemporaryFolder()
        let fifo = folder.path(of: "fifo.yaml")
        #expect(unsafe mkfifo(fifo, 0o600) == 0)
        let big = folder.file("big.yaml", octets: [UInt8](repeating: 0x23, count: 8 << 20))
        let exact = folder.file("exact.yaml", octets: [UInt8](repeating: 0x23, count: 1 << 20))
        let device = folder.path(of: "device.yaml")
        #expect(unsafe symlink("/dev/zero", device) == 0)
        let endless = folder.path(of: "endless.yaml")
        #expect(unsafe symlink("/proc/self/mem", endless) == 0)
        let table: [(path: String, text: String?)] = [
            (folder.path, "is a directory; allowed: a file"),
            (fifo, "is a FIFO; allowed: a file"),
            (device, "is a device; allowed: a file"),
            (endless, "cannot be read: Input/output error"),
            (big, "holds 8388608 octets; allowed: at most 1048576 octets"),
            ("\(folder.path)/none.yaml", "cannot be read: No such file or directory"),
            ("\(exact)/x.yaml", "cannot be read: Not a directory"),
            (folder.file("empty.yaml", octets: []), nil),
            (exact, nil),
        ]
        for (path, text) in table {
            let found = refusal { () throws(ConfigurationErrors) in
                try Configuration.load(explicitPath: path, environment: [:])
            }
            #expect(found == text.map { "\(path): \($0)" })
        }
    }

    @Test("that nobody may read are refused", .enabled(if: geteuid() != 0))
    func unreadable() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("secret.yaml", octets: [])
        #expect(unsafe chmod(path, 0) == 0)
        #expect(fileExists(path))
        #expect(throws: ConfigurationErrors.self) {
            _ = try Configuration.load(explicitPath: path, environment: [:])
        }
    }

    @Test("a file of exactly 1 MiB is read, one octet more is not", arguments: [0, 1])
    func sizeLimit(surplus: Int) throws {
        let folder = try TemporaryFolder()
        let octets = [UInt8](repeating: 0x23, count: maximumFileSize + surplus)
        let path = folder.file("x.yaml", octets: octets)
        let isRead = (try? Configuration.load(explicitPath: path, environment: [:])) != nil
        #expect(isRead == (surplus == 0))
    }
}
