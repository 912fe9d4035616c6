import Glibc

/// A program that a test has started, ended with the test.
final class Program {
    struct Failure: Error {
        let reason: String
    }

    private let process: pid_t
    private var hasEnded = false

    /// `variables` are its whole environment, `NAME=value`.
    init(_ words: [String], variables: [String] = ["PATH=/usr/bin:/bin"]) throws(Failure) {
        var process: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
        var environment: [UnsafeMutablePointer<CChar>?] = unsafe variables.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        unsafe environment.append(nil)
        defer {
            unsafe arguments.forEach { unsafe free($0) }
            unsafe environment.forEach { unsafe free($0) }
        }
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
        guard code == 0 else { throw Failure(reason: "\(words[0]): errno \(code)") }
        self.process = process
    }

    deinit { end(by: SIGTERM) }

    /// Waits until it ends by itself; throws when it ended badly.
    func awaitEnd() throws(Failure) {
        let status = awaitStatus()
        guard status == 0 else { throw Failure(reason: "wait status \(status)") }
    }

    func end(by signal: Int32) {
        guard !hasEnded else { return }
        kill(process, signal)
        _ = awaitStatus()
    }

    private func awaitStatus() -> Int32 {
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
        hasEnded = true
        return status
    }
}

/// A socket on a free port of 127.0.0.1 that takes connections and never says anything.
final class SilentListener {
    let port: UInt16
    private let descriptor: Int32

    init() throws(Program.Failure) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var count = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        // Safe because sockaddr_in is what AF_INET sockets take.
        let code = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe bind(descriptor, pointer, count) == 0 && listen(descriptor, 16) == 0
                    ? getsockname(descriptor, pointer, &count) : -1
            }
        }
        guard code == 0 else { throw Program.Failure(reason: "no free port: errno \(errno)") }
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(descriptor) }

    /// Waits until somebody has connected and said something; the connection is the caller's to
    /// close.
    func awaitQuestion() throws(Program.Failure) -> Int32 {
        let connection = accept(descriptor, nil, nil)
        var octet: UInt8 = 0
        // Safe because one octet is asked for.
        guard connection >= 0, unsafe recv(connection, &octet, 1, 0) == 1 else {
            throw Program.Failure(reason: "nobody asked: errno \(errno)")
        }
        return connection
    }

    /// Whether something takes connections on `port`.
    static func isTaken(_ port: UInt16) -> Bool {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(number) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        // Safe because sockaddr_in is what AF_INET sockets take.
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe connect(number, pointer, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
