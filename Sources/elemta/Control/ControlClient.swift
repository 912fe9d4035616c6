import ElemtaQueue
import Glibc

/// The command line's end of the control socket: connects, asks, copies the answer out. Blocking.
enum ControlClient {
    enum Outcome: Equatable {
        /// Nobody listens there: the server isn't running.
        case noServer
        case finished(status: Int32)
        /// The server went away in the middle, or isn't one of ours.
        case broken
    }

    /// Longest path of `sockaddr_un` without its NUL (unix(7)).
    private static let longestPath = 107

    /// Sends `words` to the server whose queue is `queueDirectory`, and writes what it answers to
    /// standard output and standard error.
    ///
    /// - Parameter patience: seconds that each step may take, else `.broken` or `.noServer`; nil: no
    ///   limit.
    static func ask(
        _ words: [String], queueDirectory: String, patience: Int? = nil
    ) -> Outcome {
        let descriptor = connect(to: queueDirectory, patience: patience)
        guard descriptor >= 0 else { return .noServer }
        defer { close(descriptor) }
        let output = TerminalOutput()
        let request = ControlFrame.request(words)
        guard request.count <= ControlFrame.longestRequest else {
            output.complain(ControlFrame.tooLong)
            return .finished(status: Int32(ExitStatus.usage.rawValue))
        }
        // A server that won't read all of it says why.
        Descriptors.writeAll(request, to: descriptor)
        var waiting: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = Descriptors.read(descriptor, into: &buffer)
            guard count > 0 else { return .broken }
            waiting.append(contentsOf: buffer[..<count])
            if let outcome = consume(&waiting, output) { return outcome }
        }
    }

    /// Copies the whole frames out; an outcome once the last one was there.
    private static func consume(_ waiting: inout [UInt8], _ output: TerminalOutput) -> Outcome? {
        var rest = waiting[...]
        defer { waiting = Array(rest) }
        while true {
            switch ControlFrame.parse(rest) {
            case .incomplete: return nil
            case .invalid: return .broken
            case .frame(let frame, let count):
                rest = rest.dropFirst(count)
                switch frame {
                case .output(let octets):
                    guard output.write(octets) else { return .finished(status: status(of: output)) }
                case .complaint(let octets): output.complain(octets)
                case .progress(let octets):
                    output.tell(String(decoding: octets, as: UTF8.self))
                case .exit(let status): return .finished(status: Int32(status))
                }
            }
        }
    }

    /// Of a command whose output doesn't get through.
    private static func status(of output: TerminalOutput) -> Int32 {
        guard let failure = output.failure else { return 0 }
        output.complain(failure)
        return Int32(ExitStatus.ioError.rawValue)
    }

    private static let isNone = "no server is running for this queue"

    /// Why nobody answers, for people, and the exit status that says the same.
    static func silence(queueDirectory: String) -> (text: String, status: ExitStatus) {
        let path = "\(queueDirectory)/control.sock"
        // Connecting takes the right to write.
        guard unsafe access(path, W_OK) != 0 else {
            return ("\(isNone): \(path): nobody listens there", .unavailable)
        }
        // Whether a server runs can't be seen from here.
        if errno == EACCES {
            return ("\(SpoolError.noAccess(to: queueDirectory))", .noPermission)
        }
        return ("\(isNone): \(path): \(lastErrorText())", .unavailable)
    }

    /// A connected socket, or -1.
    static func connect(to queueDirectory: String, patience: Int? = nil) -> Int32 {
        let path = "\(queueDirectory)/control.sock"
        guard path.utf8.count > longestPath else {
            return connect(path: path, patience: patience)
        }
        // A path that doesn't fit is reached through its directory's descriptor.
        let directory = unsafe open(queueDirectory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return -1 }
        defer { close(directory) }
        return connect(path: "/proc/self/fd/\(directory)/control.sock", patience: patience)
    }

    private static func connect(path: String, patience: Int?) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return -1 }
        if let patience {
            var limit = timeval(tv_sec: patience, tv_usec: 0)
            // Safe because `limit` has the size that is told, and is copied.
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                unsafe setsockopt(
                    descriptor, SOL_SOCKET, option, &limit,
                    socklen_t(MemoryLayout<timeval>.size))
            }
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // Safe because `connect(to:)` saw to it that the path and its NUL fit.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { target in
            unsafe target.copyBytes(from: path.utf8.prefix(longestPath))
        }
        let code = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(
                    descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else {
            close(descriptor)
            return -1
        }
        return descriptor
    }
}
