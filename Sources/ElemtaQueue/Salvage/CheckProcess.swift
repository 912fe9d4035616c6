import Glibc

/// The program that looks at a spool after an unclean stop: it calls `SpoolCheck.run`.
public struct SpoolChecker: Sendable {
    public var executable: String
    /// What comes before the queue's directory, without the name of the program.
    public var arguments: [String]

    public init(executable: String, arguments: [String]) {
        self.executable = executable
        self.arguments = arguments
    }
}

/// What came of looking at a spool.
enum CheckResult: Equatable {
    /// The spool can be used, but for these messages.
    case sound([MessageID: String])
    /// It can't.
    case damaged(String)
    /// It couldn't be found out.
    case failed(String)
}

/// A child process that looks at a spool: it dies of what would end this one.
enum CheckProcess {
    /// Octets of what it says that are kept.
    private static let longestText = 64 << 10

    /// Blocks until the child has ended.
    static func run(_ checker: SpoolChecker, queue: String) -> CheckResult {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { return .failed("pipe: errno \(errno)") }
        // Or the end of what the child says would never come while another child lives.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let (reading, writing) = (ends[0], ends[1])
        var process: pid_t = 0
        let code = start(checker, queue, output: writing, &process)
        close(writing)
        defer { close(reading) }
        guard code == 0 else { return .failed("\(checker.executable): errno \(code)") }
        let text = readAll(reading)
        var status: Int32 = 0
        var ended: pid_t
        repeat { ended = unsafe waitpid(process, &status, 0) } while ended < 0 && errno == EINTR
        guard ended == process else { return .failed("waitpid: errno \(errno)") }
        return result(status, text)
    }

    private static func start(
        _ checker: SpoolChecker, _ queue: String, output: Int32, _ process: inout pid_t
    ) -> Int32 {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        // Where liblmdb says what it has ended the process for.
        unsafe posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
        // What this process ignores or blocks must end the child all the same.
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe sigfillset(&signals)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        let arguments = ["elemta"] + checker.arguments + [queue]
        var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) }
        unsafe words.append(nil)
        // Safe because the words live until the child has its copy.
        defer { unsafe words.forEach { unsafe free($0) } }
        // Its backtrace would only push aside what liblmdb has said.
        let isQuiet = unsafe strdup("SWIFT_BACKTRACE=enable=no")
        defer { unsafe free(isQuiet) }
        var environment = unsafe environmentOfThisProcess
        unsafe environment.insert(isQuiet, at: 0)
        return unsafe posix_spawn(
            &process, checker.executable, &actions, &attributes, &words, &environment)
    }

    /// The pointers of `environ`, the null at the end included.
    @unsafe private static var environmentOfThisProcess: [UnsafeMutablePointer<CChar>?] {
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe []
        var next = unsafe environ
        while let pointer = unsafe next.pointee {
            unsafe pointers.append(pointer)
            unsafe next = next.successor()
        }
        unsafe pointers.append(nil)
        return unsafe pointers
    }

    private static func readAll(_ descriptor: Int32) -> String {
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { buffer in
                unsafe read(descriptor, buffer.baseAddress, buffer.count)
            }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { break }
            text += buffer[..<count].prefix(longestText - text.count)
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func result(_ status: Int32, _ text: String) -> CheckResult {
        let lines = text.split(separator: "\n")
        let said = lines.first.map(String.init) ?? ""
        // As the macros of waitpid(2) take it apart.
        let signal = status & 0x7F
        guard signal == 0 else {
            let how = "the check was ended by signal \(signal)" + (said.isEmpty ? "" : ": \(said)")
            return signalsOfDamage.contains(signal) ? .damaged(how) : .failed(how)
        }
        switch SpoolCheck.Status(rawValue: status >> 8 & 0xFF) {
        case .sound:
            var damaged: [MessageID: String] = [:]
            for line in lines {
                let words = line.split(separator: " ", maxSplits: 1)
                guard words.count == 2, let id = MessageID(String(words[0])) else { continue }
                damaged[id] = String(words[1])
            }
            return .sound(damaged)
        case .damaged: return .damaged(said)
        case .failed, nil: return .failed("the check ended with \(status >> 8 & 0xFF): \(said)")
        }
    }

    /// What a process dies of that believes damaged pages: a failed assertion, a wrong address, a page
    /// that isn't there, a loop without end.
    private static let signalsOfDamage = [
        SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGXCPU,
    ]
}
