import ElemtaConfiguration
import ElemtaReactor
import Glibc
import Logging
import Testing

@testable import elemta

@Suite("Certificates") struct CertificatesTests {
    @Test("every file at fault is named, those of the pairs chosen by name too")
    func errors() throws {
        let folder = try PairFolder()
        try folder.make("good")
        try folder.write("no certificate", to: "garbage.pem")
        let tls = try folder.tls(["missing", "good", "garbage"])
        let error = #expect(throws: CertificatesError.self) {
            try Certificates(tls, log: LinesOfLog().log)
        }
        let causes = try #require(error).causes
        #expect(causes.count == 2)
        #expect(causes.first == .missing(file: folder.path("missing.pem")))
        #expect("\(try #require(error))".contains(folder.path("garbage.pem")))
    }

    @Test("a certificate whose time is over is taken, with a warning")
    func expired() throws {
        let folder = try PairFolder()
        try folder.make("old")
        try folder.expire("old")
        try folder.make("good")
        let lines = LinesOfLog()
        let certificates = try Certificates(folder.tls(["old", "good"]), log: lines.log)
        #expect(certificates.certificates.count == 2)
        #expect(lines.taken() == ["warning certificate_expired \(folder.path("old.pem"))"])
        let good = certificates.certificates[1]
        #expect(good.validity(at: good.notBefore - 1) != .valid)
        #expect(good.validity(at: good.notBefore) == .valid)
        #expect(good.validity(at: good.notAfter) == .valid)
        #expect(good.validity(at: good.notAfter + 1) == .expired(good.lastSecond))
    }

    @Test("nothing is loaded again while the files stay as they are")
    func unchanged() throws {
        let folder = try PairFolder()
        try folder.make("a")
        let lines = LinesOfLog()
        let certificates = try Certificates(folder.tls(["a"]), log: lines.log)
        let context = certificates.context
        for _ in 0..<3 { certificates.reloadIfChanged() }
        #expect(certificates.context === context)
        #expect(lines.taken().isEmpty)
        certificates.tellOfAll()
        #expect(lines.taken() == ["notice certificate_loaded \(folder.path("a.pem"))"])
    }

    @Test("a pair that is replaced one file after the other is taken when it is whole, quietly")
    func halfReplaced() throws {
        let folder = try PairFolder()
        try folder.make("a")
        try folder.make("b")
        let lines = LinesOfLog()
        let certificates = try Certificates(folder.tls(["a", "b"]), log: lines.log)
        let before = certificates.certificates
        try folder.make("new")
        try folder.move("new.pem", to: "a.pem")
        certificates.reloadIfChanged()
        #expect(certificates.certificates[0] === before[0])
        #expect(lines.taken().isEmpty)
        try folder.move("new.key", to: "a.key")
        certificates.reloadIfChanged()
        #expect(certificates.certificates[0] !== before[0])
        #expect(certificates.certificates[1] === before[1], "others aren't touched")
        #expect(lines.taken() == ["notice certificate_loaded \(folder.path("a.pem"))"])
    }

    @Test("a pair that stays spoiled is told once, and keeps no other from being renewed")
    func spoiled() throws {
        let folder = try PairFolder()
        try folder.make("a")
        try folder.make("b")
        let lines = LinesOfLog()
        let certificates = try Certificates(folder.tls(["a", "b"]), log: lines.log)
        let before = certificates.certificates
        try folder.write("spoiled", to: "a.key")
        try folder.make("b")
        for _ in 0..<4 { certificates.reloadIfChanged() }
        #expect(certificates.certificates[0] === before[0])
        #expect(certificates.certificates[1] !== before[1])
        #expect(
            lines.taken() == [
                "notice certificate_loaded \(folder.path("b.pem"))",
                "error certificate_refused \(folder.path("a.pem"))",
            ])
        // What went wrong next is another error.
        try folder.remove("a.key")
        for _ in 0..<4 { certificates.reloadIfChanged() }
        #expect(lines.taken() == ["error certificate_refused \(folder.path("a.pem"))"])
        try folder.make("a")
        certificates.reloadIfChanged()
        #expect(certificates.certificates[0] !== before[0])
        #expect(lines.taken() == ["notice certificate_loaded \(folder.path("a.pem"))"])
    }

    @Test("a link that shows other files from now on is a change")
    func links() throws {
        let folder = try PairFolder()
        for name in ["first", "second"] { try folder.make(name) }
        for kind in ["pem", "key"] { try folder.link("a.\(kind)", to: "first.\(kind)") }
        let lines = LinesOfLog()
        let certificates = try Certificates(folder.tls(["a"]), log: lines.log)
        for kind in ["pem", "key"] { try folder.link("a.\(kind)", to: "second.\(kind)") }
        certificates.reloadIfChanged()
        #expect(certificates.certificates[0].files.certificateFile == folder.path("a.pem"))
        #expect(lines.taken().count == 1)
    }
}

/// A folder of a test's own with pairs of files that openssl(1) made: `name.pem` and `name.key`.
private final class PairFolder {
    private let folder: String
    private var made: Set<String> = []

    init() throws {
        folder = "/tmp/elemta-certificates-\(UInt64.random(in: 0...UInt64.max))"
        try #require(unsafe mkdir(folder, 0o700) == 0)
    }

    deinit {
        for name in made { unsafe unlink(path(name)) }
        unsafe rmdir(folder)
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// The configuration with these pairs.
    func tls(_ names: [String]) throws -> Configuration.TLS {
        let pairs = names.map {
            "cert_file: \(path("\($0).pem")), key_file: \(path("\($0).key"))"
        }
        let others = pairs.dropFirst().map { "{\($0)}" }.joined(separator: ", ")
        try write("tls: {enabled: true, \(pairs[0]), certificates: [\(others)]}", to: "a.yaml")
        let loaded = try Configuration.load(explicitPath: path("a.yaml"), environment: [:])
        return loaded.configuration.tls
    }

    func make(_ name: String) throws {
        try openssl([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "30", "-subj", "/CN=\(name).example", "-keyout", file("\(name).key"),
            "-out", file("\(name).pem"),
        ])
    }

    /// Signs the certificate anew, as one that ended yesterday.
    func expire(_ name: String) throws {
        try openssl([
            "x509", "-in", path("\(name).pem"), "-signkey", path("\(name).key"), "-days", "-1",
            "-out", path("\(name).pem"),
        ])
    }

    func write(_ text: String, to name: String) throws {
        let descriptor = unsafe open(
            file(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try #require(Descriptors.writeAll(Array(text.utf8), to: descriptor))
    }

    func move(_ name: String, to other: String) throws {
        try #require(unsafe rename(path(name), file(other)) == 0)
    }

    func remove(_ name: String) throws {
        try #require(unsafe unlink(path(name)) == 0)
    }

    /// A symbolic link, replaced in one step where it exists.
    func link(_ name: String, to target: String) throws {
        try #require(unsafe symlink(path(target), file("link")) == 0)
        try move("link", to: name)
    }

    /// The path of something that is to be removed with the folder.
    private func file(_ name: String) -> String {
        made.insert(name)
        return path(name)
    }

    private func openssl(_ arguments: [String]) throws {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        // It prints dots while it makes a key.
        unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var pointers = unsafe (["openssl"] + arguments).map { unsafe strdup($0) } + [nil]
        defer { unsafe pointers.forEach { unsafe free($0) } }
        var process: pid_t = 0
        try #require(
            unsafe posix_spawnp(&process, "openssl", &actions, nil, &pointers, environ) == 0)
        var status: Int32 = 0
        unsafe waitpid(process, &status, 0)
        try #require(status == 0, "openssl \(arguments)")
    }
}

/// A log that keeps what it was told: level, event and the file that the line names.
private final class LinesOfLog {
    private final class Lines: @unchecked Sendable {
        // Safe because one test on one thread uses it.
        var lines: [String] = []
    }

    private struct Handler: LogHandler {
        let kept: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let file = event.metadata?["file"].map { "\($0)" } ?? ""
            kept.lines.append("\(event.level) \(event.message) \(file)")
        }
    }

    private let kept = Lines()

    var log: Logger {
        Logger(label: "test") { [kept] _ in Handler(kept: kept) }
    }

    func taken() -> [String] {
        defer { kept.lines = [] }
        return kept.lines
    }
}
