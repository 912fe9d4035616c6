import ElemtaReactor
import Glibc
import Testing

/// An authority of the tests' own, and certificates that it signed; made by the openssl command,
/// once.
final class Certificates: Sendable {
    static let shared: Result<Certificates, any Error> = Result { try Certificates() }

    private let directory: TemporaryDirectory
    /// For 127.0.0.1, mx.example.com and example.com.
    let good: TLSServerContext
    /// For other.example.
    let otherName: TLSServerContext
    /// As `good`, and a day late.
    let expired: TLSServerContext
    /// As `good`, but signed by itself.
    let selfSigned: TLSServerContext

    struct OpenSSLFailed: Error {
        let arguments: [String]
        let status: Int32
    }

    var authority: String { "\(directory.path)/ca.pem" }

    private init() throws {
        let directory = try TemporaryDirectory()
        self.directory = directory
        let path = directory.path
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        try Self.openssl(
            ["req", "-x509"] + key + ["-days", "2", "-subj", "/CN=tests"]
                + ["-keyout", "\(path)/ca.key", "-out", "\(path)/ca.pem"])
        func context(
            _ name: String, _ names: String, days: Int = 2, isSigned: Bool = true
        ) throws -> TLSServerContext {
            let (file, keyFile) = ("\(path)/\(name).pem", "\(path)/\(name).key")
            let subject = ["-subj", "/CN=\(name)", "-addext", "subjectAltName=\(names)"]
            if isSigned {
                try Self.openssl(
                    ["req", "-new"] + key + subject + ["-keyout", keyFile, "-out", "\(file).csr"])
                try Self.openssl(
                    ["x509", "-req", "-in", "\(file).csr", "-copy_extensions", "copyall"]
                        + ["-CA", "\(path)/ca.pem", "-CAkey", "\(path)/ca.key"]
                        + ["-days", "\(days)", "-out", file])
            } else {
                try Self.openssl(
                    ["req", "-x509"] + key + subject + ["-keyout", keyFile, "-out", file])
            }
            return TLSServerContext([
                try TLSServerCertificate(
                    TLSCertificateFiles(certificateFile: file, keyFile: keyFile),
                    ticketKeys: TLSTicketKeys())
            ])
        }
        let names = "IP:127.0.0.1,DNS:mx.example.com,DNS:example.com"
        good = try context("good", names)
        otherName = try context("other", "DNS:other.example")
        expired = try context("expired", names, days: -1)
        selfSigned = try context("self", names, isSigned: false)
        atexit { Certificates.removeShared() }
    }

    private static func removeShared() {
        if case .success(let certificates) = shared { certificates.directory.remove() }
    }

    private static func openssl(_ arguments: [String]) throws {
        // What it says besides goes nowhere.
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for number: Int32 in 0...2 {
            unsafe posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0)
        }
        var pointers = unsafe (["openssl"] + arguments).map { unsafe strdup($0) } + [nil]
        defer { unsafe pointers.forEach { unsafe free($0) } }
        var process: pid_t = 0
        try #require(
            unsafe posix_spawnp(&process, "openssl", &actions, nil, &pointers, environ) == 0)
        var status: Int32 = 0
        unsafe waitpid(process, &status, 0)
        guard status == 0 else { throw OpenSSLFailed(arguments: arguments, status: status) }
    }
}
