import ElemtaReactor
import ElemtaThreads
import Glibc

/// NLnet Labs' nsd, an authoritative name server, on a free port of 127.0.0.1.
final class NameServer {
    struct Failure: Error {
        let reason: String
    }

    /// Installed, or unpacked into .build-tools.
    static let program: String? = {
        let folders = ["/usr/sbin", "/usr/local/sbin", ".build-tools/nsd/usr/sbin"]
        return folders.map { $0 + "/nsd" }.first { unsafe access($0, X_OK) == 0 }
    }()

    let port: UInt16
    private let folder: String
    private let files: [String]
    private let process: pid_t

    /// Zones by name, each in the words of a zone file.
    init(zones: [String: String]) throws {
        guard let program = Self.program else { throw Failure(reason: "nsd isn't installed") }
        var name = Array("/tmp/elemta-nsd-XXXXXX\0".utf8CString)
        // Safe because mkdtemp writes the six letters in place and nothing beyond.
        let isMade = unsafe name.withUnsafeMutableBufferPointer { buffer -> Bool in
            guard let start = buffer.baseAddress else { return false }
            return unsafe mkdtemp(start) != nil
        }
        guard isMade else { throw Failure(reason: "mkdtemp: errno \(errno)") }
        let folder = String(
            decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let port = try Self.freePort()
        var configuration = """
            server:
              ip-address: 127.0.0.1@\(port)
              username: ""
              zonesdir: "\(folder)"
              database: ""
              pidfile: "\(folder)/pid"
              xfrdfile: "\(folder)/xfrd"
              zonelistfile: "\(folder)/zones"
              logfile: "\(folder)/log"
              server-count: 1
            remote-control:
              control-enable: no

            """
        var files = ["pid", "xfrd", "zones", "log", "nsd.conf"]
        for (zone, text) in zones {
            configuration += "zone:\n  name: \(zone)\n  zonefile: \(zone)\n"
            try Self.write("$ORIGIN \(zone).\n\(text)\n", to: "\(folder)/\(zone)")
            files.append(zone)
        }
        try Self.write(configuration, to: folder + "/nsd.conf")
        process = try Self.spawn([program, "-d", "-c", folder + "/nsd.conf"])
        self.port = port
        self.folder = folder
        self.files = files
        try awaitAnswer()
    }

    deinit {
        kill(process, SIGTERM)
        var status: Int32 = 0
        unsafe waitpid(process, &status, 0)
        for file in files { unsafe unlink("\(folder)/\(file)") }
        unsafe rmdir(folder)
    }

    private static func write(_ text: String, to path: String) throws {
        guard let file = unsafe fopen(path, "w") else {
            throw Failure(reason: "\(path): errno \(errno)")
        }
        unsafe fputs(text, file)
        unsafe fclose(file)
    }

    private static func spawn(_ words: [String]) throws -> pid_t {
        var process: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe []
        for word in words { unsafe arguments.append(unsafe strdup(word)) }
        unsafe arguments.append(nil)
        defer { unsafe arguments.forEach { unsafe free($0) } }
        // Its libraries lie beside it where it was unpacked.
        let library = "LD_LIBRARY_PATH=.build-tools/nsd/usr/lib/x86_64-linux-gnu"
        var environment: [UnsafeMutablePointer<CChar>?] = unsafe [strdup(library), nil]
        defer { unsafe free(environment[0]) }
        // The threads of a test block all signals, and a child would too: SIGTERM has to end it.
        var attributes = posix_spawnattr_t()
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_init(&attributes)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // Safe because both lists end with nil and outlive the call.
        let code = unsafe posix_spawn(
            &process, words[0], nil, &attributes, &arguments, &environment)
        guard code == 0 else { throw Failure(reason: "posix_spawn: \(code)") }
        return process
    }

    /// nsd can't say which port the kernel chose: one that was free a moment ago has to do.
    private static func freePort() throws -> UInt16 {
        let found = Inbox<UInt16>()
        let thread = try NamedThread("port") {
            guard let loop = try? EventLoop(),
                let listener = try? Listener(
                    loop: loop, address: SocketAddress(host: .v4(0x7F00_0001), port: 0),
                    accepted: { _ in })
            else { return found.close() }
            found.post(listener.boundAddress.port)
        }
        thread.join()
        guard let port = found.takeOne() else { throw Failure(reason: "no free port") }
        return port
    }

    /// Waits until the server takes TCP connections, each of which the kernel refuses before.
    private func awaitAnswer() throws {
        let deadline = MonotonicTime.now + .seconds(30)
        while MonotonicTime.now < deadline {
            let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(number) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            // Safe because sockaddr_in is what AF_INET sockets take.
            let code = unsafe withUnsafeBytes(of: &address) { bytes -> Int32 in
                guard let start = bytes.baseAddress else { return -1 }
                return unsafe connect(
                    number, start.assumingMemoryBound(to: sockaddr.self),
                    socklen_t(bytes.count))
            }
            if code == 0 { return }
            sched_yield()
        }
        throw Failure(reason: "nsd doesn't answer")
    }
}
