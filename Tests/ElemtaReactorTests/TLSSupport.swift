import COpenSSL
import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

/// Runs a program to its end; its exit status, and what it printed.
@discardableResult
func execute(_ arguments: [String], input: String? = nil) throws -> (
    status: Int32, output: String
) {
    let directory = try TemporaryDirectory()
    let (from, to) = ("\(directory.path)/in", "\(directory.path)/out")
    try write(Array((input ?? "").utf8), to: from)
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, from, O_RDONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, to, O_WRONLY | O_CREAT, 0o600)
    unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var pointers = unsafe arguments.map { unsafe strdup($0) } + [nil]
    defer { unsafe pointers.forEach { unsafe free($0) } }
    var process: pid_t = 0
    try #require(
        unsafe posix_spawnp(&process, arguments[0], &actions, nil, &pointers, environ) == 0)
    var status: Int32 = 0
    unsafe waitpid(process, &status, 0)
    return (status >> 8, String(decoding: try read(to), as: UTF8.self))
}

func write(_ octets: [UInt8], to path: String) throws {
    let file = OwnedDescriptor(
        taking: unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600))
    let count = unsafe octets.withUnsafeBytes {
        unsafe write(file.number, $0.baseAddress, $0.count)
    }
    try #require(count == octets.count)
}

func read(_ path: String) throws -> [UInt8] {
    let file = OwnedDescriptor(taking: unsafe open(path, O_RDONLY | O_CLOEXEC))
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(file.number, $0.baseAddress, $0.count)
        }
        guard count > 0 else { return octets }
        octets += buffer[..<count]
    }
}

/// Certificates of a test's own, signed by themselves.
struct Certificates {
    let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
    }

    func path(_ name: String) -> String { "\(directory.path)/\(name)" }

    /// A certificate for `names`; the file is called as the first of them.
    func make(
        _ names: String..., key: [String] = ["ec", "ec_paramgen_curve:P-256"]
    ) throws -> TLSCertificateFiles {
        let files = TLSCertificateFiles(
            certificateFile: path("\(names[0]).pem"), keyFile: path("\(names[0]).key"))
        let alternatives = names.map { $0 == "127.0.0.1" ? "IP:\($0)" : "DNS:\($0)" }
        let (status, output) = try execute([
            "openssl", "req", "-x509", "-newkey", key[0], "-pkeyopt", key[1], "-nodes",
            "-days", "30", "-subj", "/CN=\(names[0])", "-keyout", files.keyFile,
            "-out", files.certificateFile,
            "-addext", "subjectAltName=\(alternatives.joined(separator: ","))",
        ])
        try #require(status == 0, Comment(rawValue: output))
        return files
    }

    /// Signs a certificate anew, as one that ended yesterday.
    func expire(_ files: TLSCertificateFiles) throws {
        let (status, output) = try execute([
            "openssl", "x509", "-in", files.certificateFile, "-signkey", files.keyFile,
            "-days", "-1", "-out", files.certificateFile,
        ])
        try #require(status == 0, Comment(rawValue: output))
    }
}

/// A server's side with its certificate, ready to take a client.
struct TLSServer {
    let certificates: Certificates
    let context: TLSServerContext
    let test: TestLoop
    let recorder = Recorder()

    init(
        _ names: [String] = ["mail.example.com"],
        key: [String] = ["ec", "ec_paramgen_curve:P-256"], minimum: TLSVersion = .v12,
        ticketKeys: TLSTicketKeys = TLSTicketKeys()
    ) throws {
        test = try TestLoop()
        let certificates = try Certificates()
        context = TLSServerContext(
            try names.map {
                try TLSServerCertificate(
                    certificates.make($0, key: key), minimum: minimum, ticketKeys: ticketKeys)
            })
        self.certificates = certificates
    }

    /// A connection that waits for a handshake, with its client's socket.
    func accept() throws -> (connection: Connection, peer: Peer) {
        let (connection, peer) = try test.pair(recorder)
        try connection.startTLS(server: context)
        return (connection, peer)
    }
}

/// The client side of a TLS session by OpenSSL alone, blocking, on a thread of its own.
@safe final class TLSPeer {
    let session: OpaquePointer
    private let context: OpaquePointer
    let peer: Peer

    struct Wishes: Sendable {
        var version: Int32? = nil
        var name: String? = nil
        var ciphers = "DEFAULT:@SECLEVEL=0"
        var groups: String? = nil
    }

    init(_ peer: Peer, _ wishes: Wishes = Wishes()) throws {
        self.peer = peer
        unsafe context = try #require(unsafe SSL_CTX_new(TLS_client_method()))
        if let version = wishes.version {
            unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(version), nil)
            unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(version), nil)
        }
        unsafe SSL_CTX_set_cipher_list(context, wishes.ciphers)
        unsafe session = try #require(unsafe SSL_new(context))
        if let groups = wishes.groups {
            var octets = Array(groups.utf8CString)
            unsafe octets.withUnsafeMutableBytes {
                _ = unsafe SSL_ctrl(session, SSL_CTRL_SET_GROUPS_LIST, 0, $0.baseAddress)
            }
        }
        if let name = wishes.name {
            var octets = Array(name.utf8CString)
            unsafe octets.withUnsafeMutableBytes {
                _ = unsafe SSL_ctrl(session, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, $0.baseAddress)
            }
        }
        unsafe SSL_set_fd(session, peer.number)
    }

    deinit {
        unsafe SSL_free(session)
        unsafe SSL_CTX_free(context)
    }

    func connect() -> Bool {
        unsafe SSL_connect(session) == 1
    }

    func send(_ octets: [UInt8]) -> Bool {
        unsafe SSL_write(session, octets, Int32(octets.count)) == Int32(octets.count)
    }

    /// Up to `count` octets; fewer only at the end.
    func receive(_ count: Int = .max) -> [UInt8] {
        var octets: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while octets.count < count {
            let wanted = Int32(min(buffer.count, count - octets.count))
            let received = unsafe SSL_read(session, &buffer, wanted)
            guard received > 0 else { break }
            octets += buffer[..<Int(received)]
        }
        return octets
    }

    /// The last octets were followed by close_notify: some versions of OpenSSL set
    /// `SSL_RECEIVED_SHUTDOWN` after a fatal alert too.
    var isEndSaid: Bool {
        unsafe SSL_get_error(session, 0) == SSL_ERROR_ZERO_RETURN
    }

    /// What the last failure on this thread was.
    var reason: String {
        guard let text = unsafe ERR_reason_error_string(ERR_peek_error()) else { return "" }
        return unsafe String(cString: text)
    }

    /// The common name of the server's certificate.
    var serverName: String {
        var name = [CChar](repeating: 0, count: 256)
        let subject = unsafe X509_get_subject_name(SSL_get0_peer_certificate(session))
        let count = unsafe X509_NAME_get_text_by_NID(subject, NID_commonName, &name, 256)
        return String(decoding: name.prefix(Int(count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// The first flight of a client, as octets.
func clientHello() throws -> [UInt8] {
    let context = unsafe try #require(unsafe SSL_CTX_new(TLS_client_method()))
    defer { unsafe SSL_CTX_free(context) }
    let session = unsafe try #require(unsafe SSL_new(context))
    defer { unsafe SSL_free(session) }
    let output = unsafe try #require(unsafe BIO_new(BIO_s_mem()))
    unsafe SSL_set_bio(session, BIO_new(BIO_s_mem()), output)
    _ = unsafe SSL_connect(session)
    var octets = [UInt8](repeating: 0, count: 4096)
    let count = unsafe BIO_read(output, &octets, 4096)
    return Array(octets.prefix(Int(count)))
}

/// The client side of a session that goes on: threads take turns with it.
final class LastingClient: @unchecked Sendable {
    // Safe because a test waits for one thread to end before it starts the next.
    private let client: TLSPeer

    init(_ peer: Peer, _ wishes: TLSPeer.Wishes = TLSPeer.Wishes()) throws {
        client = try TLSPeer(peer, wishes)
    }

    func use<Result>(_ body: (TLSPeer) -> Result) -> Result { body(client) }
}

extension TestLoop {
    /// Runs `body` with the client side of `peer` on a thread, and the loop until it has ended.
    func run<Result: Sendable>(
        _ peer: Peer, _ wishes: TLSPeer.Wishes = TLSPeer.Wishes(),
        _ body: @escaping @Sendable (TLSPeer) -> Result
    ) throws -> Result {
        let result = try run { (try? TLSPeer(peer, wishes)).map(body) }
        return try #require(result)
    }

    /// Runs `body` on a thread, and the loop until it has ended.
    func run<Result: Sendable>(_ body: @escaping @Sendable () -> Result) throws -> Result {
        let results = Inbox<Result>()
        let loop = loop
        // Weakly, as the loop keeps what a pipe that isn't closed yet has captured.
        let pipe = try EventPipe<Void>(loop: loop) { [weak loop] _ in loop?.stop() }
        let thread = try NamedThread("client") {
            results.post(body())
            results.close()
            pipe.post(())
        }
        run("the client's end")
        thread.join()
        turn(3)
        return try #require(results.takeOne())
    }
}
